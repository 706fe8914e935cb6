//! Who a plugin is and how it reaches its runtime.

use std::{
    env, fmt,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    Error,
    connect::{Connecting, Connector},
    inherited,
};

/// Where runtimes listen for plugins unless their configuration says otherwise.
pub const DEFAULT_SOCKET: &str = "/var/run/nri/nri.sock";

/// The variable in which a runtime tells a plugin that it launches the descriptor of its connection.
const LAUNCHED: &str = "NRI_PLUGIN_SOCKET";

/// Whether the runtime launched this process from its plugin directory. Then nobody gave it a command line, and its
/// standard streams lead nowhere.
#[must_use]
pub fn is_launched() -> bool {
    env::var_os(LAUNCHED).is_some()
}

/// How long a runtime waits for a registration unless its configuration says otherwise.
const DEFAULT_REGISTRATION_TIMEOUT: Duration = Duration::from_secs(5);

/// A plugin's name and its place among the plugins of the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    name: String,
    index: String,
}

impl Identity {
    /// `index` is two digits: the runtime calls the plugins in their order.
    ///
    /// # Errors
    /// [`Error::Identity`] when the name is empty, longer than 255 bytes or has control characters, or the index
    /// is not exactly two ASCII digits.
    pub fn new(name: impl Into<String>, index: impl Into<String>) -> Result<Self, Error> {
        let (name, index) = (name.into(), index.into());
        if name.is_empty() || name.len() > 255 || name.chars().any(char::is_control) {
            return Err(invalid("name", &name, "1 to 255 bytes without control characters"));
        }
        if index.len() != 2 || !index.bytes().all(|b| b.is_ascii_digit()) {
            return Err(invalid("index", &index, "exactly two digits"));
        }
        Ok(Self { name, index })
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The two digits.
    #[must_use]
    pub fn index(&self) -> &str {
        &self.index
    }
}

fn invalid(what: &'static str, value: &str, rule: &'static str) -> Error {
    Error::Identity { what, value: value.chars().take(64).collect(), rule }
}

/// How [`run`](super::run()) reaches the runtime.
#[derive(Debug)]
pub(super) enum Endpoint {
    /// Connect here, again and again.
    Socket(PathBuf),
    /// Connected already, once.
    Connected(UnixStream),
}

/// What [`run`](super::run()) needs to know besides the plugin.
pub struct Options {
    pub(super) identity: Identity,
    pub(super) endpoint: Endpoint,
    pub(super) registration_timeout: Duration,
    pub(super) connector: Option<Connector>,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { identity, endpoint, registration_timeout, connector: _ } = self;
        let mut out = f.debug_struct("Options");
        out.field("identity", identity).field("endpoint", endpoint);
        out.field("registration_timeout", registration_timeout).finish_non_exhaustive()
    }
}

impl Options {
    /// A plugin that connects to the runtime at [`DEFAULT_SOCKET`].
    #[must_use]
    pub fn new(identity: Identity) -> Self {
        let endpoint = Endpoint::Socket(DEFAULT_SOCKET.into());
        Self { identity, endpoint, registration_timeout: DEFAULT_REGISTRATION_TIMEOUT, connector: None }
    }

    /// As the environment says: a runtime that launches a plugin itself hands it a connected socket
    /// (`NRI_PLUGIN_SOCKET`) and its identity (`NRI_PLUGIN_NAME`, `NRI_PLUGIN_IDX`). Without these variables, as
    /// [`Options::new`] with `identity`. The socket can be taken over once in a process.
    ///
    /// # Errors
    /// [`Error::Descriptor`] when the variable names no usable socket, [`Error::Identity`] when name or index
    /// are not valid.
    pub fn from_env(identity: Identity) -> Result<Self, Error> {
        let var = |key| env::var_os(key).map(|value| value.to_string_lossy().into_owned());
        let Some(socket) = var(LAUNCHED) else { return Ok(Self::new(identity)) };
        let name = var("NRI_PLUGIN_NAME").unwrap_or(identity.name);
        let index = var("NRI_PLUGIN_IDX").unwrap_or(identity.index);
        let identity = Identity::new(name, index)?;
        Ok(Self::new(identity).connection(inherited::take(&socket)?))
    }

    /// Connect to the runtime at this path.
    #[must_use]
    pub fn socket(mut self, path: impl AsRef<Path>) -> Self {
        self.endpoint = Endpoint::Socket(path.as_ref().to_owned());
        self
    }

    /// Connect to the runtime's socket by `connect`, for instance to check first who owns the socket. A socket that it
    /// rejects is waited for like one that is missing. An error that is an [`std::io::Error`] is explained as that of
    /// `connect(2)`.
    #[must_use]
    pub fn connect_by<F>(mut self, connect: F) -> Self
    where
        F: Fn(&Path) -> Connecting<'_> + Send + Sync + 'static,
    {
        self.connector = Some(Box::new(connect));
        self
    }

    /// Use this connection, and end with it: it cannot be made again.
    #[must_use]
    pub fn connection(mut self, stream: UnixStream) -> Self {
        self.endpoint = Endpoint::Connected(stream);
        self
    }

    /// How long to wait for the runtime to accept the registration; 5 s unless told. A runtime that tells a longer
    /// time of its own is given that at the next connection.
    #[must_use]
    pub fn registration_timeout(mut self, timeout: Duration) -> Self {
        self.registration_timeout = timeout;
        self
    }

    /// Whether the connection was handed over by the runtime, so that the runtime looks after the plugin.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        matches!(self.endpoint, Endpoint::Connected(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_is_exactly_two_digits() {
        for index in ["", "1", "123", "a1", "1a", " 1", "+1", "٣٣", "-1"] {
            let error = Identity::new("x", index).unwrap_err();
            assert!(error.to_string().contains("two digits"), "{index}: {error}");
        }
        assert_eq!(Identity::new("x", "07").unwrap().index(), "07");
    }

    #[test]
    fn name_is_short_and_printable() {
        for name in [String::new(), "x".repeat(256), "a\nb".into()] {
            assert!(matches!(Identity::new(name, "10"), Err(Error::Identity { what: "name", .. })));
        }
    }
}
