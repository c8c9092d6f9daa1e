//! What an error of etcd or of the way to it means: another member may be asked, or what was asked may have been done.

use serde::Deserialize;

use crate::control::cluster::store::{Revision, StoreError};

/// The reason why one attempt at one endpoint brought nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It was not done, and another member may do it.
    NotDone(String),
    /// It may have been done, or may still be.
    Unknown(String),
    /// It was not done, and no member will do it.
    Refused(String),
    /// The lease is not there.
    LeaseOver,
    /// Changes since this revision are not told any more.
    Compacted(Revision),
    /// The token is not, or no more, valid.
    Token(String),
    /// This path is not served: no gateway, or one of another version.
    NoSuchPath,
}

/// The longest message that is passed on, in characters: people read it.
const MOST_MESSAGE: usize = 300;

impl Fault {
    /// The fault for who asked, once no other member is asked.
    pub fn told(self) -> StoreError {
        match self {
            Fault::NotDone(why) | Fault::Unknown(why) => StoreError::Away(why),
            Fault::Refused(why) | Fault::Token(why) => StoreError::Refused(why),
            Fault::LeaseOver => StoreError::LeaseOver,
            Fault::Compacted(revision) => StoreError::Compacted(revision),
            Fault::NoSuchPath => StoreError::Away("it serves no /v3, /v3beta or /v3alpha: its gateway is off".into()),
        }
    }
}

/// What the body of a response that is not 200 means, or an error in a stream.
///
/// Gateways of etcd 3.4 say `{"error", "code", "message"}`, in streams `{"error": {"grpc_code", "message"}}`; those of
/// 3.6 leave `error` out, and in streams put `code` into it.
pub fn read_fault(status: u16, body: &[u8]) -> Fault {
    match serde_json::from_slice::<Said>(body) {
        Ok(said) => said.fault(status),
        Err(_) if status == 404 => Fault::NoSuchPath,
        Err(_) => Fault::Unknown(format!("it answers {status} without a reason")),
    }
}

/// An error as JSON.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Said {
    error: serde_json::Value,
    code: Option<serde_json::Value>,
    message: Option<String>,
}

impl Said {
    fn fault(&self, status: u16) -> Fault {
        let inner = |name: &str| self.error.get(name);
        let message = self.message.as_deref().or_else(|| inner("message")?.as_str()).or_else(|| self.error.as_str());
        let message = clipped(message.unwrap_or("it gives no reason"));
        let code = self.code.as_ref().or_else(|| inner("grpc_code")).or_else(|| inner("code"));
        let code = code.and_then(serde_json::Value::as_u64);
        if status == 404 && !message.starts_with("etcdserver:") {
            return Fault::NoSuchPath;
        }
        judged(code, message)
    }
}

/// By the words first: codes of one reason differ from version to version.
fn judged(code: Option<u64>, message: String) -> Fault {
    let says = |words: &[&str]| words.iter().any(|words| message.contains(words));
    if says(&["requested lease not found"]) {
        Fault::LeaseOver
    } else if says(&["invalid auth token", "user name is empty", "revision of auth store is old"]) {
        Fault::Token(message)
    } else if says(&["no leader", "too many requests", "not capable", "not supported for learner"]) {
        // All of these are said before anything is proposed to other members.
        Fault::NotDone(message)
    } else {
        match code {
            Some(UNAUTHENTICATED) => Fault::Token(message),
            // Invalid argument, not found, already there, not permitted, no space left, wrong state, out of range, unknown.
            Some(3 | 5 | 6 | 7 | 8 | 9 | 11 | 12) => Fault::Refused(message),
            _ => Fault::Unknown(message),
        }
    }
}

/// gRPC's code for it.
const UNAUTHENTICATED: u64 = 16;

/// Text from outside, for a line of a log: short, and without control characters.
pub fn clipped(text: &str) -> String {
    text.chars().take(MOST_MESSAGE).map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_all_gateways_are_understood() {
        let refused = |why: &str| Fault::Refused(why.into());
        for (status, body, expected) in [
            // etcd 3.4 and 3.5
            (
                404,
                r#"{"error":"etcdserver: requested lease not found","message":"etcdserver: requested lease not found","code":5}"#,
                Fault::LeaseOver,
            ),
            (
                429,
                r#"{"error":"etcdserver: mvcc: database space exceeded","message":"etcdserver: mvcc: database space exceeded","code":8}"#,
                refused("etcdserver: mvcc: database space exceeded"),
            ),
            (
                401,
                r#"{"error":"etcdserver: invalid auth token","code":16}"#,
                Fault::Token("etcdserver: invalid auth token".into()),
            ),
            (
                400,
                r#"{"error":"etcdserver: user name is empty","code":3}"#,
                Fault::Token("etcdserver: user name is empty".into()),
            ),
            (
                503,
                r#"{"error":"etcdserver: no leader","message":"etcdserver: no leader","code":14}"#,
                Fault::NotDone("etcdserver: no leader".into()),
            ),
            (
                503,
                r#"{"error":"etcdserver: request timed out","code":14}"#,
                Fault::Unknown("etcdserver: request timed out".into()),
            ),
            // etcd 3.6
            (
                403,
                r#"{"code":7,"message":"etcdserver: permission denied","details":[]}"#,
                refused("etcdserver: permission denied"),
            ),
            (404, r#"{"code":5,"message":"Not Found","details":[]}"#, Fault::NoSuchPath),
            // In streams
            (
                200,
                r#"{"error":{"grpc_code":14,"http_code":503,"message":"etcdserver: no leader","http_status":"Service Unavailable"}}"#,
                Fault::NotDone("etcdserver: no leader".into()),
            ),
            (200, r#"{"error":{"code":7,"message":"denied","details":[]}}"#, refused("denied")),
            // Not etcd
            (404, "404 page not found\n", Fault::NoSuchPath),
            (404, "Not Found\n", Fault::NoSuchPath),
            (502, "<html>", Fault::Unknown("it answers 502 without a reason".into())),
            (500, r#"{"error":{},"code":-1}"#, Fault::Unknown("it gives no reason".into())),
            (500, r#"{"error":"a\nb"}"#, Fault::Unknown("a b".into())),
        ] {
            assert_eq!(read_fault(status, body.as_bytes()), expected, "{body}");
        }
    }
}
