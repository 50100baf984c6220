//! Where the tenant is, and nowhere else.

use std::fmt;

/// The base URL of a tenant's API: https, or plain http to this machine only. No slash at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl {
    url: reqwest::Url,
    loopback: bool,
}

/// Why a tenant or base URL is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BaseUrlError {
    /// The name cannot be a host name's part.
    #[error("`{0}` cannot be a tenant: expected letters, digits and hyphens, such as `acme`")]
    Tenant(String),
    /// Not a URL at all.
    #[error("`{0}` is not a URL: expected one such as https://api.acme.getomneo.com/api/v3")]
    Form(String),
    /// The token would cross the network in the clear.
    #[error("plain http to {0} would show the token to everyone on the way; only https leaves this machine")]
    PlainHttp(String),
    /// User names, queries and fragments have no place there.
    #[error("a base URL has no user name, query or fragment")]
    Decorated,
}

impl BaseUrl {
    /// The address of a tenant by its name \[doc, sdk\].
    pub fn of_tenant(name: &str) -> Result<Self, BaseUrlError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        let bounded = (1..=63).contains(&name.len()) && !name.starts_with('-') && !name.ends_with('-');
        if !bounded || !name.bytes().all(plain) {
            return Err(BaseUrlError::Tenant(
                name.chars().filter(|c| !c.is_control()).take(80).collect(),
            ));
        }
        Self::parse(&format!("https://api.{name}.getomneo.com/api/v3"))
    }

    /// Reads a whole base URL.
    pub fn parse(text: &str) -> Result<Self, BaseUrlError> {
        let shown = || {
            text.chars()
                .filter(|c| !c.is_control())
                .take(80)
                .collect::<String>()
        };
        let mut url = reqwest::Url::parse(text.trim()).map_err(|_| BaseUrlError::Form(shown()))?;
        let decorated = !url.username().is_empty() || url.password().is_some() || url.query().is_some();
        if decorated || url.fragment().is_some() {
            return Err(BaseUrlError::Decorated);
        }
        // `Host::Domain` may be a name that resolves to anything, so `localhost` alone is taken by its name.
        let host = url.host_str().unwrap_or_default().to_owned();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let loopback =
            host == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
        match url.scheme() {
            "https" => {}
            "http" if loopback => {}
            "http" => return Err(BaseUrlError::PlainHttp(host)),
            _ => return Err(BaseUrlError::Form(shown())),
        }
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&path);
        Ok(Self { url, loopback })
    }

    /// Whether it is on this machine.
    pub fn is_loopback(&self) -> bool {
        self.loopback
    }

    /// Whether it is asked without TLS, which is for this machine only.
    pub(super) fn is_plain_http(&self) -> bool {
        self.url.scheme() == "http"
    }

    /// Whether it is where a tenant of that name would be.
    pub fn is_omneo(&self) -> bool {
        let host = self.url.host_str().unwrap_or_default();
        let name = host
            .strip_prefix("api.")
            .and_then(|rest| rest.strip_suffix(".getomneo.com"));
        name.is_some_and(|name| Self::of_tenant(name).is_ok_and(|usual| usual == *self))
    }

    /// The URL of a path below it; `steps` are encoded one by one.
    pub(super) fn join(&self, steps: &[&str]) -> reqwest::Url {
        let mut url = self.url.clone();
        url.path_segments_mut()
            .expect("BUG: http URLs always have a path")
            .pop_if_empty()
            .extend(steps);
        url
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.url.as_str().trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenants_have_one_address_and_bad_names_none() {
        let url = BaseUrl::of_tenant("acme").unwrap();
        assert_eq!(url.to_string(), "https://api.acme.getomneo.com/api/v3");
        let ids = url.join(&["profiles", "a/b?c"]);
        assert_eq!(
            ids.as_str(),
            "https://api.acme.getomneo.com/api/v3/profiles/a%2Fb%3Fc"
        );
        for name in ["", "-a", "a-", "a.b", "a/b", "evil.example/x#", "a b"] {
            assert!(BaseUrl::of_tenant(name).is_err(), "{name}");
        }
    }

    #[test]
    fn only_a_tenants_own_address_is_omneos() {
        let is_omneo = |url: &str| BaseUrl::parse(url).unwrap().is_omneo();
        assert!(is_omneo("https://api.acme.getomneo.com/api/v3"));
        for other in [
            "https://api.acme.getomneo.com.evil.example/api/v3",
            "https://api.a.b.getomneo.com/api/v3",
            "https://api.acme.getomneo.com:444/api/v3",
            "https://evil.example/api/v3",
        ] {
            assert!(!is_omneo(other), "{other}");
        }
    }

    #[test]
    fn the_token_never_leaves_in_the_clear() {
        for good in [
            "http://127.0.0.1:8080/api/v3/",
            "http://localhost:1/",
            "http://[::1]:9/api",
            "https://x.example/api",
        ] {
            assert!(BaseUrl::parse(good).is_ok(), "{good}");
        }
        assert_eq!(
            BaseUrl::parse("http://x.example/api"),
            Err(BaseUrlError::PlainHttp("x.example".into()))
        );
        // 127.0.0.1 as a label of a foreign name is not this machine.
        assert!(BaseUrl::parse("http://127.0.0.1.example/").is_err());
        assert_eq!(
            BaseUrl::parse("https://u:p@x.example/"),
            Err(BaseUrlError::Decorated)
        );
        assert_eq!(
            BaseUrl::parse("https://x.example/?a=b"),
            Err(BaseUrlError::Decorated)
        );
        assert!(matches!(
            BaseUrl::parse("ftp://x.example/"),
            Err(BaseUrlError::Form(_))
        ));
        assert!(matches!(BaseUrl::parse("acme"), Err(BaseUrlError::Form(_))));
    }
}
