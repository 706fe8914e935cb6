//! One GET of a pod over HTTPS.

use std::io;

use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::{
    Request, StatusCode,
    body::Bytes,
    client::conn::http1,
    header::{ACCEPT, AUTHORIZATION, CONNECTION, HOST, HeaderValue, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, rustls};

use super::{
    AccessError, AskError,
    access::{Access, Origin},
};
use container_start::config::Kubernetes;
use strict_groups_core::text;

/// The longest answer. etcd takes 1.5 MiB for an object.
const LONGEST: usize = 8 << 20;

/// Asks an API server. Has no connection between two questions.
#[derive(Debug)]
pub struct Client {
    origin: Origin,
}

impl Client {
    /// A client as configured.
    ///
    /// # Errors
    /// The credentials cannot be read now, or are not understood.
    pub fn new(settings: &Kubernetes) -> Result<Self, AccessError> {
        let origin = Origin::new(settings)?;
        origin.load()?;
        Ok(Self { origin })
    }

    /// The JSON of the pod `name`. May be dropped at any point; does not limit its own time.
    pub(super) async fn pod(&self, namespace: &str, name: &str) -> Result<Vec<u8>, AskError> {
        if !is_name(namespace) || !is_name(name) {
            return Err(AskError::BadName);
        }
        let access = self.origin.load()?;
        let server = format!("{}:{}", access.host, access.port);
        let connect = |source| AskError::Connect { server: server.clone(), source };
        let tcp = TcpStream::connect((access.host.as_str(), access.port)).await.map_err(connect)?;
        let tls = TlsConnector::from(access.tls.clone())
            .connect(access.name.clone(), tcp)
            .await
            .map_err(|source| handshake(server.clone(), source))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(tls)).await.map_err(|error| broken(&error))?;
        let request = request(&access, &server, &format!("/api/v1/namespaces/{namespace}/pods/{name}"))?;

        let exchange = async {
            let response = sender.send_request(request).await.map_err(|error| broken(&error))?;
            status(response.status())?;
            match Limited::new(response.into_body(), LONGEST).collect().await {
                Ok(body) => Ok(body.to_bytes().to_vec()),
                Err(error) if error.is::<LengthLimitError>() => Err(AskError::TooLong),
                Err(error) => Err(broken(&*error)),
            }
        };
        tokio::pin!(exchange);
        tokio::select! {
            result = &mut exchange => result,
            // Closed by the server, perhaps after all of the answer.
            _ = connection => exchange.await,
        }
    }
}

fn request(access: &Access, server: &str, path: &str) -> Result<Request<Empty<Bytes>>, AskError> {
    let mut request = Request::get(format!("{}{path}", access.path))
        .header(HOST, server)
        .header(ACCEPT, "application/json")
        .header(CONNECTION, "close")
        .header(USER_AGENT, concat!("strict-groups/", env!("CARGO_PKG_VERSION")));
    if let Some(token) = &access.token {
        let mut value = HeaderValue::try_from(format!("Bearer {token}")).map_err(|error| broken(&error))?;
        value.set_sensitive(true);
        request = request.header(AUTHORIZATION, value);
    }
    request.body(Empty::new()).map_err(|error| broken(&error))
}

fn status(status: StatusCode) -> Result<(), AskError> {
    Err(match status {
        StatusCode::OK => return Ok(()),
        StatusCode::UNAUTHORIZED => AskError::Unauthorized,
        StatusCode::FORBIDDEN => AskError::Forbidden,
        StatusCode::NOT_FOUND => AskError::NotFound,
        other => AskError::Status(other.as_u16()),
    })
}

/// A failed handshake: is the server another one, or was it only the connection?
fn handshake(server: String, source: io::Error) -> AskError {
    let tls = source.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::InvalidCertificate(_)) => AskError::Certificate { server, source },
        _ => AskError::Connect { server, source },
    }
}

/// An error and what caused it, on one line.
fn broken(error: &dyn std::error::Error) -> AskError {
    let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
    AskError::Broken(text::one_line(&format!("{error}{cause}"), 160))
}

/// The characters of DNS names, as namespaces and pods have them; and nothing that means more in a URL.
fn is_name(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    (1..=253).contains(&name.len()) && name.bytes().all(legal) && name != "." && name != ".."
}
