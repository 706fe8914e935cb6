//! Whom to ask, and as whom: from a kubeconfig, or as the pod that the plugin runs in.
//!
//! Tokens and client certificates are replaced while the plugin runs (`serviceAccountToken`
//! projection; the kubelet's certificate rotation), so everything is read anew for each question:
//! one for each pod that starts.

use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use hyper::Uri;
use tokio_rustls::rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    version::TLS13,
};

use super::{
    AccessError,
    kubeconfig::{self, Chosen, Content},
};
use container_start::config::Kubernetes;
use hostfs::ownership;
use strict_groups_core::text;

/// Where Kubernetes puts a pod's service account ("Accessing the Kubernetes API from a Pod").
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const HOST: &str = "KUBERNETES_SERVICE_HOST";
const PORT: &str = "KUBERNETES_SERVICE_PORT";

/// Where the rest is read from.
#[derive(Debug, Clone)]
pub(super) enum Origin {
    Kubeconfig(PathBuf),
    /// The server's address, and the folder with `token` and `ca.crt`.
    Pod {
        server: String,
        folder: PathBuf,
    },
}

/// A server and who we are to it. Not `Debug`: it has secrets.
pub(super) struct Access {
    pub(super) host: String,
    pub(super) port: u16,
    /// What goes before `/api`: empty, or a path without a slash at its end.
    pub(super) path: String,
    pub(super) name: ServerName<'static>,
    pub(super) tls: Arc<ClientConfig>,
    pub(super) token: Option<String>,
}

impl Origin {
    pub(super) fn new(settings: &Kubernetes) -> Result<Self, AccessError> {
        match &settings.kubeconfig {
            Some(path) if path.is_absolute() => Ok(Self::Kubeconfig(path.clone())),
            Some(path) => Err(AccessError::Relative(path.clone())),
            None => Self::pod(|name| env::var(name).ok(), Path::new(SERVICE_ACCOUNT)),
        }
    }

    fn pod(variable: impl Fn(&str) -> Option<String>, folder: &Path) -> Result<Self, AccessError> {
        let value =
            |name| variable(name).filter(|value| !value.is_empty()).ok_or(AccessError::NotInAPod(name));
        let (host, port) = (value(HOST)?, value(PORT)?);
        // An IPv6 address comes without brackets.
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        Ok(Self::Pod { server: format!("https://{host}:{port}"), folder: folder.to_owned() })
    }

    /// Reads everything as it is now.
    pub(super) fn load(&self) -> Result<Access, AccessError> {
        match self {
            Self::Kubeconfig(path) => {
                ownership::check(path, ownership::Kind::File).map_err(AccessError::NotTrusted)?;
                let yaml = String::from_utf8_lossy(&read(path)?).into_owned();
                Access::new(&kubeconfig::parse(&yaml, path)?)
            }
            Self::Pod { server, folder } => Access::new(&Chosen {
                server: server.clone(),
                authority: Content::File(folder.join("ca.crt")),
                server_name: None,
                token: Some(Content::File(folder.join("token"))),
                client: None,
            }),
        }
    }
}

impl Access {
    fn new(chosen: &Chosen) -> Result<Self, AccessError> {
        let bad = || AccessError::BadServer(chosen.server.clone());
        let uri: Uri = chosen.server.parse().map_err(|_| bad())?;
        if uri.scheme_str() != Some("https") || uri.query().is_some() {
            return Err(bad());
        }
        let host = uri.host().ok_or_else(bad)?.trim_matches(['[', ']']).to_owned();
        let name = chosen.server_name.as_ref().unwrap_or(&host).clone();
        Ok(Self {
            port: uri.port_u16().unwrap_or(443),
            path: uri.path().trim_end_matches('/').to_owned(),
            name: ServerName::try_from(name).map_err(|_| bad())?,
            tls: Arc::new(tls(chosen)?),
            token: chosen.token.as_ref().map(token).transpose()?,
            host,
        })
    }
}

fn tls(chosen: &Chosen) -> Result<ClientConfig, AccessError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("certificate-authority", &chosen.authority)? {
        roots.add(certificate).map_err(|error| unusable("certificate-authority", &error))?;
    }
    // Every API server since Kubernetes 1.14 has TLS 1.3.
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| unusable("TLS", &error))?
        .with_root_certificates(roots);
    match &chosen.client {
        None => Ok(builder.with_no_client_auth()),
        Some((certificate, key)) => {
            let chain = certificates("client-certificate", certificate)?;
            let key = PrivateKeyDer::from_pem_slice(&key.bytes()?)
                .map_err(|error| unusable("client-key", &error))?;
            builder.with_client_auth_cert(chain, key).map_err(|error| unusable("client-certificate", &error))
        }
    }
}

fn certificates(what: &'static str, content: &Content) -> Result<Vec<CertificateDer<'static>>, AccessError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&content.bytes()?).collect();
    match all {
        Ok(all) if all.is_empty() => Err(unusable(what, &"there is no PEM certificate in it")),
        Ok(all) => Ok(all),
        Err(error) => Err(unusable(what, &error)),
    }
}

/// Goes into a header: printable ASCII.
fn token(content: &Content) -> Result<String, AccessError> {
    let bytes = content.bytes()?;
    let token = bytes.trim_ascii();
    match str::from_utf8(token) {
        Ok(text) if !text.is_empty() && token.iter().all(u8::is_ascii_graphic) => Ok(text.to_owned()),
        _ => Err(unusable("the token", &"it is empty, or not printable")),
    }
}

fn unusable(what: &'static str, reason: &dyn std::fmt::Display) -> AccessError {
    AccessError::BadCredential { what, reason: text::one_line(&reason.to_string(), 160) }
}

impl Content {
    fn bytes(&self) -> Result<Vec<u8>, AccessError> {
        match self {
            Self::Here(bytes) => Ok(bytes.clone()),
            Self::File(path) => read(path),
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, AccessError> {
    fs::read(path).map_err(|source| AccessError::Read { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(host: &str, port: &str) -> Result<String, AccessError> {
        let variable = |name: &str| Some(if name == HOST { host } else { port }.to_owned());
        match Origin::pod(variable, Path::new("/none"))? {
            Origin::Pod { server, .. } => Ok(server),
            Origin::Kubeconfig(_) => unreachable!(),
        }
    }

    #[test]
    fn pod_is_told_its_server() {
        assert_eq!(server("10.0.0.1", "443").unwrap(), "https://10.0.0.1:443");
        assert_eq!(server("fd00::1", "6443").unwrap(), "https://[fd00::1]:6443");
        assert!(matches!(server("", "443"), Err(AccessError::NotInAPod(HOST))));
        assert!(matches!(Origin::pod(|_| None, Path::new("/")), Err(AccessError::NotInAPod(HOST))));
    }

    #[test]
    fn server_that_is_none_is_named() {
        for server in ["http://h", "h", "https://", "https://h?x", "", "https://a b"] {
            let chosen = Chosen {
                server: server.into(),
                authority: Content::Here(Vec::new()),
                server_name: None,
                token: None,
                client: None,
            };
            assert!(matches!(Access::new(&chosen), Err(AccessError::BadServer(_))), "{server}");
        }
    }

    #[test]
    fn token_is_one_line_of_printable_characters() {
        assert_eq!(token(&Content::Here(b"abc.def\n".into())).unwrap(), "abc.def");
        for bytes in [&b""[..], b"\n", b"a b", b"a\r\nX: y", b"\xff"] {
            assert!(token(&Content::Here(bytes.into())).is_err(), "{bytes:?}");
        }
    }
}
