//! Exit codes: the same of every command.

/// How a command ends, for scripts. 0 is not here: it is done, or the answer is yes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Exit {
    /// It was not done, or the answer is no: why is on standard error, or was what was asked for.
    #[default]
    No = 1,
    Mistyped = 2,
    Degraded = 3,
    Panic = 4,
    NoServer = 5,
    NotAllowed = 6,
    Changed = 7,
}

impl Exit {
    /// From its number on.
    pub fn code(self) -> u8 {
        self as u8
    }
}

/// All of them: the number, and what it says. Help and docs/cli.md show this.
pub const EXIT_STATUS: &str = "\
Exit status, the same of every command:
  0  done, or yes
  1  not done, and why is on standard error; or no (ready, health, explain --diff)
  2  the command was mistyped
  3  degraded (status, nodes); or something was left (import)
  4  panic (status)
  5  no server answers there
  6  the server does not allow it: no token, or a role that does not do
  7  somebody changed it meanwhile (--if-match)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_told_once_in_help_and_in_the_document() {
        let document = include_str!("../../docs/cli.md");
        let all =
            [Exit::No, Exit::Mistyped, Exit::Degraded, Exit::Panic, Exit::NoServer, Exit::NotAllowed, Exit::Changed];
        for (line, code) in EXIT_STATUS.lines().skip(1).zip(0..) {
            assert!(line.starts_with(&format!("  {code}  ")), "{line}");
            let said = line.trim_start_matches(|c: char| c == ' ' || c.is_ascii_digit());
            assert!(document.contains(&format!("| {code} | {said} |")), "docs/cli.md lacks: | {code} | {said} |");
        }
        assert_eq!(EXIT_STATUS.lines().count(), 2 + all.len());
        assert!(all.iter().zip(1..).all(|(exit, code)| exit.code() == code));
    }
}
