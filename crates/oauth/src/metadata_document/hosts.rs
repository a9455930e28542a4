//! The hosts whose documents are read: what the operator listed.

use std::fmt;
use std::str::FromStr;

/// A host from which clients' metadata are read, or all hosts below one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataHost {
    /// Lower case, without a dot at either end.
    name: String,
    /// Whether it stands for the hosts below the name, and not for the name itself.
    below: bool,
}

impl MetadataHost {
    /// Whether it is, or stands for, the host of a URL, which is in lower case.
    pub(super) fn is(&self, host: &str) -> bool {
        if !self.below {
            return host == self.name;
        }
        // The dot is part of it: `evilexample.com` is not below `example.com`.
        host.strip_suffix(self.name.as_str())
            .and_then(|labels| labels.strip_suffix('.'))
            .is_some_and(|labels| !labels.is_empty() && labels.split('.').all(|label| !label.is_empty()))
    }
}

/// It is no host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "write the name of a host, such as client.example, or *.client.example for all hosts below it, without scheme and port"
)]
pub struct InvalidMetadataHost;

impl FromStr for MetadataHost {
    type Err = InvalidMetadataHost;

    fn from_str(text: &str) -> Result<Self, InvalidMetadataHost> {
        let (name, below) = text.strip_prefix("*.").map_or((text, false), |name| (name, true));
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let loopback = matches!(name, "127.0.0.1" | "[::1]");
        // The last label of a name is no number; otherwise it would be an address (WHATWG URL §3.5).
        let number = |label: &str| label.bytes().all(|b| b.is_ascii_digit()) || label.starts_with("0x");
        let last = name.rsplit('.').next().unwrap_or_default();
        let named = name.len() <= 253 && name.split('.').all(is_label) && !number(last);
        // All hosts of a top-level domain belong to everybody.
        if (named && (!below || name.contains('.'))) || (loopback && !below) {
            Ok(Self { name: name.to_ascii_lowercase(), below })
        } else {
            Err(InvalidMetadataHost)
        }
    }
}

impl fmt::Display for MetadataHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.below { "*." } else { "" }, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::MetadataHost;

    fn rule(text: &str) -> MetadataHost {
        text.parse().unwrap()
    }

    #[test]
    fn a_rule_is_for_one_host_or_for_those_below_it() {
        let one = rule("Client.Example");
        assert!(one.is("client.example"));
        for other in
            ["a.client.example", "evilclient.example", "client.example.evil.example", "client.example."]
        {
            assert!(!one.is(other), "{other}");
        }
        let below = rule("*.client.example");
        for host in ["a.client.example", "a.b.client.example"] {
            assert!(below.is(host), "{host}");
        }
        for other in [
            "client.example",
            ".client.example",
            "a..client.example",
            "evilclient.example",
            "client.example.evil.example",
            "localhost.evil.example",
        ] {
            assert!(!below.is(other), "{other}");
        }
        assert!(!rule("localhost").is("localhost.evil.example"));
        assert_eq!(
            (one.to_string(), below.to_string()),
            ("client.example".into(), "*.client.example".into())
        );
    }

    #[test]
    fn what_is_no_host_is_told() {
        for good in ["localhost", "127.0.0.1", "[::1]", "xn--bcher-kva.example", "a.b-c.example"] {
            rule(good);
        }
        for bad in [
            "",
            "*",
            "*.",
            "*.com",
            "*.localhost",
            "*.127.0.0.1",
            "https://client.example",
            "client.example:443",
            "client.example/",
            "client..example",
            ".client.example",
            "client.example.",
            "-a.example",
            "b\u{fc}cher.example",
            "10.0.0.1",
            "169.254.169.254",
            "0x7f.1",
            "[::ffff:127.0.0.1]",
            "a.*.example",
        ] {
            assert!(bad.parse::<MetadataHost>().is_err(), "{bad}");
        }
    }
}
