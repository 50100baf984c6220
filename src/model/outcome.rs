//! What an answer of the tenant means, in the classes that the run tells apart.
//!
//! Reads may be asked again at will, so their classes say *when* to ask again. Writes may not, so their
//! classes say whether the request can have taken effect. Pure: the bytes are read in `api/`.

use super::ids::{BatchId, Handle, ProfileId};
use std::time::Duration;

/// What an error says whose body is a page for browsers: a gateway speaks, and not the tenant.
pub const HTML_PAGE: &str = "an HTML page";
/// What an error says whose body is another text than JSON.
pub const NO_JSON: &str = "a text that is no JSON";

/// What a failure to connect says where the server's certificate is not one that this machine trusts.
pub const BAD_CERTIFICATE: &str = "the server's certificate is not trusted";

/// Why a read brought no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadFailure {
    /// The tenant cannot be reached at all: no name, no connection, or a gateway says so.
    Unreachable(String),
    /// We are too fast. The time is what `Retry-After` says, where it was sent and readable.
    SlowDown(Option<Duration>),
    /// An answer came, or was cut, and is worthless: a time-out, a 500, HTML, the wrong shape.
    Spoiled(String),
    /// A sound answer, and about another thing than was asked for: it was merged into that one, or answers were mixed up.
    Elsewhere,
    /// The token is not good, or not good enough: 401 or 403.
    Denied(Refusal),
    /// There is no such thing, or no more: 404, 410.
    Missing,
    /// The tenant will not answer this: another 4xx, or a redirect.
    Refused(Refusal),
}

impl ReadFailure {
    /// Its class, as the log names it.
    pub fn class(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::SlowDown(_) => "slow_down",
            Self::Spoiled(_) => "spoiled",
            Self::Elsewhere => "elsewhere",
            Self::Denied(_) => "denied",
            Self::Missing => "missing",
            Self::Refused(_) => "refused",
        }
    }
}

/// A refusal in the tenant's own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// The tenant's message, cleaned of control characters and cut; may be empty.
    pub message: String,
}

impl Refusal {
    /// Whether something on the way to the tenant seems to have refused, such as a gateway or a firewall: the tenant
    /// itself answers in JSON.
    pub fn is_from_the_way(&self) -> bool {
        [HTML_PAGE, NO_JSON].contains(&self.message.as_str())
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.message.is_empty() {
            write!(f, "HTTP {}", self.status)
        } else {
            write!(f, "HTTP {}: {}", self.status, self.message)
        }
    }
}

/// What became of one write request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteAnswer {
    /// 2xx with a batch id.
    Accepted(BatchId),
    /// Nothing left this machine: no name, no connection, no TLS.
    NotSent(String),
    /// 429: not taken, and too fast.
    SlowDown(Option<Duration>),
    /// Not taken, since there are too many members: 413, or a 422 about the list itself.
    TooLarge(Refusal),
    /// Not taken, for good. `members` names those, by position, that the tenant objects to.
    Refused {
        /// The tenant's answer.
        refusal: Refusal,
        /// Positions in the request and the objection to each.
        members: Vec<(usize, String)>,
    },
    /// Not taken, and nothing else will be either: 401, 403, 404, 405, or a redirect.
    Denied(Refusal),
    /// It may have been taken.
    InDoubt(String),
}

impl WriteAnswer {
    /// Its class, as the log names it.
    pub fn class(&self) -> &'static str {
        match self {
            Self::Accepted(_) => "accepted",
            Self::NotSent(_) => "not_sent",
            Self::SlowDown(_) => "slow_down",
            Self::TooLarge(_) => "too_large",
            Self::Refused { .. } => "refused",
            Self::Denied(_) => "denied",
            Self::InDoubt(_) => "in_doubt",
        }
    }
}

/// The parts of an error body that matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Complaint {
    /// `message`.
    pub message: String,
    /// Objections to single members, from keys such as `profiles.7.profile_id`.
    pub members: Vec<(usize, String)>,
    /// Whether the list as a whole is objected to: a key that is just `profiles`.
    pub about_the_list: bool,
}

/// Classes a write by its status, once a whole answer other than a good 2xx has come.
///
/// 5xx and 408 are doubtful, since a gateway may give up on a request that its backend goes on with. So are 409, 423 and
/// 425: they speak of another request that is under way, which may be this one, taken twice by something in between.
/// 302 and 303 are doubtful too, since applications send them after they did the work.
pub fn classify_write(status: u16, retry_after: Option<Duration>, complaint: Complaint) -> WriteAnswer {
    let refusal = Refusal {
        status,
        message: complaint.message,
    };
    match status {
        429 => WriteAnswer::SlowDown(retry_after),
        413 => WriteAnswer::TooLarge(refusal),
        422 if complaint.about_the_list && complaint.members.is_empty() => WriteAnswer::TooLarge(refusal),
        301 | 307 | 308 | 401 | 403 | 404 | 405 => WriteAnswer::Denied(refusal),
        408 | 409 | 423 | 425 => WriteAnswer::InDoubt(refusal.to_string()),
        400..=499 => WriteAnswer::Refused {
            refusal,
            members: complaint.members,
        },
        _ => WriteAnswer::InDoubt(refusal.to_string()),
    }
}

/// Classes a read by its status, once a whole answer other than a 200 has come.
pub fn classify_read(status: u16, retry_after: Option<Duration>, complaint: Complaint) -> ReadFailure {
    let refusal = Refusal {
        status,
        message: complaint.message,
    };
    match status {
        429 => ReadFailure::SlowDown(retry_after),
        // Laravel's maintenance mode and gateways: the tenant, not the question.
        502..=504 => ReadFailure::Unreachable(refusal.to_string()),
        401 | 403 => ReadFailure::Denied(refusal),
        404 | 410 => ReadFailure::Missing,
        300..=399 => ReadFailure::Refused(refusal),
        // For now: something else is under way.
        408 | 409 | 423 | 425 => ReadFailure::Spoiled(refusal.to_string()),
        400..=499 => ReadFailure::Refused(refusal),
        _ => ReadFailure::Spoiled(refusal.to_string()),
    }
}

/// A member of a batch, as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The profile.
    pub profile: ProfileId,
    /// The handles that it needs changed; never empty.
    pub handles: Vec<Handle>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(status: u16, complaint: Complaint) -> &'static str {
        classify_write(status, None, complaint).class()
    }

    #[test]
    fn only_a_clear_no_counts_as_not_taken() {
        let plain = |status| class(status, Complaint::default());
        for status in [
            200, 202, 204, 302, 303, 408, 409, 423, 425, 500, 502, 503, 504, 520, 599,
        ] {
            assert_eq!(plain(status), "in_doubt", "{status}");
        }
        for status in [301, 307, 308, 401, 403, 404, 405] {
            assert_eq!(plain(status), "denied", "{status}");
        }
        for status in [400, 410, 415, 422] {
            assert_eq!(plain(status), "refused", "{status}");
        }
        assert_eq!(plain(429), "slow_down");
        assert_eq!(plain(413), "too_large");
    }

    #[test]
    fn a_read_says_when_to_ask_again() {
        let read = |status| classify_read(status, Some(Duration::from_secs(7)), Complaint::default());
        assert_eq!(read(429), ReadFailure::SlowDown(Some(Duration::from_secs(7))));
        for status in [404, 410] {
            assert_eq!(read(status), ReadFailure::Missing);
        }
        for status in [502, 503, 504] {
            assert!(matches!(read(status), ReadFailure::Unreachable(_)), "{status}");
        }
        for status in [401, 403] {
            assert!(matches!(read(status), ReadFailure::Denied(_)), "{status}");
        }
        for status in [301, 302, 400, 405, 422, 499] {
            assert!(matches!(read(status), ReadFailure::Refused(_)), "{status}");
        }
        for status in [200, 204, 408, 409, 423, 425, 500, 501, 505, 520] {
            assert!(matches!(read(status), ReadFailure::Spoiled(_)), "{status}");
        }
    }

    #[test]
    fn a_refusal_is_told_in_the_words_of_the_tenant() {
        let told = |message: &str| {
            let message = message.to_owned();
            Refusal { status: 403, message }.to_string()
        };
        assert_eq!(told(""), "HTTP 403");
        assert_eq!(told("Invalid scope."), "HTTP 403: Invalid scope.");
    }

    #[test]
    fn a_422_says_what_it_objects_to() {
        let list = Complaint {
            about_the_list: true,
            ..Complaint::default()
        };
        assert_eq!(class(422, list.clone()), "too_large");
        let members = vec![(3, "is unknown".to_string())];
        assert_eq!(class(422, Complaint { members, ..list }), "refused");
    }
}
