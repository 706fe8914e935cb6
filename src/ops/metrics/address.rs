//! Where the metrics are to be had.

use std::{net::SocketAddr, path::PathBuf, str::FromStr};

use thiserror::Error;

/// Where somebody may ask for the metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// Over TCP.
    Tcp(SocketAddr),
    /// At a UNIX socket, which only root may connect to.
    Unix(PathBuf),
}

/// It is neither.
#[derive(Debug, Error)]
#[error("write IP:PORT (127.0.0.1:9880, [::1]:9880) or unix:/absolute/path")]
pub struct AddressError;

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        match text.strip_prefix("unix:") {
            Some(path) if path.starts_with('/') && !path.ends_with('/') => Ok(Self::Unix(path.into())),
            Some(_) => Err(AddressError),
            None => text.parse().map(Self::Tcp).map_err(|_| AddressError),
        }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_is_read_as_it_is_written() {
        for text in ["127.0.0.1:9880", "[::1]:9880", "0.0.0.0:0", "unix:/run/strict-groups/metrics.sock"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        for text in
            ["", "9880", ":9880", "localhost:9880", "127.0.0.1", "unix:", "unix:relative", "unix:/a/", "/a"]
        {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
