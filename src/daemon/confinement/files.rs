//! The places that may be written, by Landlock (landlock(7)).
//!
//! Reading stays as the user's permissions have it: a reload may name files anywhere.

use std::io;

use landlock::{
    ABI, AccessFs, BitFlags, CompatLevel, Compatible, LandlockStatus, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetStatus, Scope, path_beneath_rules,
};

use super::needs::{Needs, unknown};

/// The latest that is asked for; of older kernels, as much as they know.
const KNOWN: ABI = ABI::V6;

/// Binds the calling thread and those that it starts. What is in force, in words.
pub(super) fn confine(needs: &Needs) -> io::Result<String> {
    let status = restrict(needs).map_err(io::Error::other)?;
    let LandlockStatus::Available { effective_abi, .. } = status.landlock else { return Err(unknown("Landlock")) };
    if status.ruleset == RulesetStatus::NotEnforced {
        return Err(unknown("Landlock"));
    }
    let places: Vec<String> = needs.writes.iter().map(|path| path.display().to_string()).collect();
    Ok(format!("written beneath {} alone (Landlock {})", places.join(", "), effective_abi as i32))
}

fn restrict(needs: &Needs) -> Result<landlock::RestrictionStatus, landlock::RulesetError> {
    let writing = AccessFs::from_write(KNOWN);
    let mut handled: BitFlags<AccessFs> = writing;
    let mut rules = Ruleset::default().set_compatibility(CompatLevel::BestEffort);
    if !needs.programs {
        handled |= AccessFs::Execute;
        rules = rules.scope(Scope::Signal)?;
    }
    let rules = rules.handle_access(handled)?.create()?;
    // A place that is not there is left out: what would be written there fails, and says so.
    rules.add_rules(path_beneath_rules(&needs.writes, writing))?.restrict_self()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_written_in_the_places_named_and_read_anywhere() {
        let folder = tempfile::tempdir().expect("a folder");
        let (own, other) = (folder.path().join("own"), folder.path().join("other"));
        [&own, &other].into_iter().for_each(|path| std::fs::create_dir(path).expect("a folder"));
        std::fs::write(other.join("read"), "text").expect("a file");
        let needs = Needs { writes: vec![own.clone()], programs: false, xdp: false };
        // A thread is bound by itself: not the other tests.
        std::thread::spawn(move || {
            let said = match confine(&needs) {
                Err(error) if error.kind() == io::ErrorKind::Unsupported => return,
                said => said.expect("it is confined"),
            };
            assert!(said.contains("own alone"), "{said}");
            std::fs::write(own.join("new"), "text").expect("its own place");
            std::fs::rename(own.join("new"), own.join("renamed")).expect("its own place");
            assert_eq!(std::fs::read_to_string(other.join("read")).expect("read"), "text");
            let refused = |result: io::Result<()>| {
                assert_eq!(result.expect_err("refused").kind(), io::ErrorKind::PermissionDenied);
            };
            refused(std::fs::write(other.join("new"), "text"));
            refused(std::fs::write(other.join("read"), "changed"));
            refused(std::fs::remove_file(other.join("read")));
            refused(std::process::Command::new("/bin/true").status().map(drop));
        })
        .join()
        .expect("no panic");
    }
}
