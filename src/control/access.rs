//! Who may do what by the admin API: tokens by name, each with a role, kept as hashes alone.
//!
//! The text of `admin.tokens_file` comes in. A presented token goes in, and whose it is comes out.

use std::sync::Arc;

use arc_swap::ArcSwap;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The largest file of tokens, in octets.
pub const MAX_OCTETS: u64 = 256 * 1024;
/// Tokens in a file. Each that is presented is compared with all.
const MOST_TOKENS: usize = 256;
/// The longest name, in characters.
const MOST_NAME: usize = 64;
/// What tokens begin with, so that those who find one know what it is.
const PREFIX: &str = "meridian_";

/// What somebody may do. The greater may all that the lesser may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Read what there is, and ask for explanations.
    Read,
    /// Steer: overrides, switches, loads, heartbeats, this node, what-if.
    Operate,
    /// Everything: reloads and imports, too.
    Admin,
}

impl Role {
    pub const ALL: [Role; 3] = [Role::Read, Role::Operate, Role::Admin];

    pub fn as_str(self) -> &'static str {
        match self {
            Role::Read => "read",
            Role::Operate => "operate",
            Role::Admin => "admin",
        }
    }
}

impl std::str::FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Role, String> {
        let found = Role::ALL.into_iter().find(|role| role.as_str() == text);
        found.ok_or_else(|| format!("`{text}` is no role: it is read, operate or admin"))
    }
}

/// All tokens of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tokens(Vec<Known>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    name: String,
    role: Role,
    sha256: [u8; 32],
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    token: Vec<WrittenToken>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenToken {
    name: String,
    role: Role,
    sha256: String,
}

impl Tokens {
    /// Reads the text of a file of tokens.
    ///
    /// # Errors
    /// The first mistake, for people.
    pub fn parse(text: &str) -> Result<Tokens, String> {
        let Written { token } = toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
        if token.len() > MOST_TOKENS {
            return Err(format!("{} tokens, expected at most {MOST_TOKENS}", token.len()));
        }
        let mut known: Vec<Known> = Vec::with_capacity(token.len());
        for WrittenToken { name, role, sha256 } in token {
            check_name(&name)?;
            let sha256 = from_hex(&sha256).ok_or_else(|| {
                format!("the `sha256` of `{name}` is not 64 hexadecimal digits: see `meridian token new`")
            })?;
            if known.iter().any(|known| known.name == name) {
                return Err(format!("two tokens are called `{name}`"));
            }
            known.push(Known { name, role, sha256 });
        }
        Ok(Tokens(known))
    }

    /// Whose token this is. Takes the same time for each that is presented, whoever's it is.
    pub fn find(&self, presented: &str) -> Option<(&str, Role)> {
        // The tokens are random, so that a plain hash of them tells nothing.
        let presented = digest(&SHA256, presented.as_bytes());
        let mut found = None;
        for known in &self.0 {
            let differing = known.sha256.iter().zip(presented.as_ref()).fold(0, |sum, (a, b)| sum | (a ^ b));
            if std::hint::black_box(differing) == 0 {
                found = Some((known.name.as_str(), known.role));
            }
        }
        found
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The tokens that hold now; `None`: there is no file of them.
pub type SharedTokens = Arc<ArcSwap<Option<Tokens>>>;

/// Those of a new configuration take the place of those before. Where it names no file any more nobody has a token, until
/// a restart: what was guarded is not opened by a reload.
pub fn renew(shared: &SharedTokens, tokens: Option<Tokens>) {
    let was_guarded = shared.load().is_some();
    shared.store(Arc::new(tokens.or_else(|| was_guarded.then(Tokens::default))));
}

/// A new token, and what to write into the file for it.
pub struct NewToken {
    /// Shown once, and kept nowhere here.
    pub secret: String,
    pub lines: String,
}

impl NewToken {
    /// # Errors
    /// The name cannot be one, or the system has no chance to give.
    pub fn make(name: &str, role: Role) -> Result<NewToken, String> {
        check_name(name)?;
        let mut octets = [0; 32];
        let filled = SystemRandom::new().fill(&mut octets);
        filled.map_err(|_| "the system has no random numbers".to_owned())?;
        let secret = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(octets));
        let sha256: String =
            digest(&SHA256, secret.as_bytes()).as_ref().iter().map(|octet| format!("{octet:02x}")).collect();
        let lines = format!("[[token]]\nname = \"{name}\"\nrole = \"{}\"\nsha256 = \"{sha256}\"\n", role.as_str());
        Ok(NewToken { secret, lines })
    }
}

fn check_name(name: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._@-".contains(c);
    if (1..=MOST_NAME).contains(&name.len()) && name.chars().all(fits) {
        return Ok(());
    }
    let name: String = name.chars().take(MOST_NAME).collect();
    Err(format!("`{name}` is no name of a token: expected 1 to {MOST_NAME} letters, digits, and any of `._@-`"))
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let mut octets = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (octet, digits) in octets.iter_mut().zip(text.as_bytes().chunks(2)) {
        let digits = std::str::from_utf8(digits).ok().filter(|digits| !digits.starts_with('+'))?;
        *octet = u8::from_str_radix(digits, 16).ok()?;
    }
    Some(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_token_is_found_by_its_lines_alone() {
        let (alice, bob) = (NewToken::make("alice", Role::Operate), NewToken::make("bob@ops", Role::Read));
        let (alice, bob) = (alice.expect("made"), bob.expect("made"));
        let text = format!("{}\n{}", alice.lines, bob.lines);
        assert!(!text.contains(&alice.secret) && alice.secret.len() > 40 && alice.secret != bob.secret);
        let tokens = Tokens::parse(&text).expect("tokens");
        assert_eq!(tokens.find(&alice.secret), Some(("alice", Role::Operate)));
        assert_eq!(tokens.find(&bob.secret), Some(("bob@ops", Role::Read)));
        for wrong in ["", "meridian_", &alice.secret[1..], &format!("{} ", alice.secret)] {
            assert_eq!(tokens.find(wrong), None, "{wrong}");
        }
        assert!(Role::Read < Role::Operate && Role::Operate < Role::Admin);
        assert_eq!(Tokens::parse(""), Ok(Tokens::default()));
    }

    #[test]
    fn what_is_wrong_with_a_file_is_told() {
        let token = |name: &str, role: &str, hash: &str| {
            format!("[[token]]\nname = \"{name}\"\nrole = \"{role}\"\nsha256 = \"{hash}\"\n")
        };
        let hash = "0a".repeat(32);
        let twice = token("a", "read", &hash) + &token("a", "admin", &hash);
        let many: String = (0..257).map(|n| token(&format!("t{n}"), "read", &hash)).collect();
        for (text, why) in [
            (token("a", "root", &hash), "root"),
            (token("a b", "read", &hash), "`a b` is no name"),
            (token("", "read", &hash), "is no name"),
            (token("a", "read", "0a"), "64 hexadecimal digits"),
            (token("a", "read", &"+a".repeat(32)), "64 hexadecimal digits"),
            (twice, "two tokens are called `a`"),
            (many, "257 tokens"),
            ("[[tokens]]".to_owned(), "tokens"),
        ] {
            let error = Tokens::parse(&text).expect_err(why);
            assert!(error.contains(why), "{error}");
        }
        assert!(NewToken::make("a\"b", Role::Read).is_err());
    }
}
