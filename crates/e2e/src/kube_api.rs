//! A Kubernetes API server as small as it gets: HTTPS on a port of its own, answers made by a test.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::oneshot,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig, crypto::ring, pki_types::PrivateKeyDer, server::WebPkiClientVerifier,
    },
};

/// What the client sent.
#[derive(Debug, Clone)]
pub struct Asked {
    /// `GET /path HTTP/1.1`
    pub line: String,
    /// The value of `Authorization`.
    pub authorization: Option<String>,
}

/// What it gets.
pub enum Reply {
    /// This status with this body.
    Now(u16, String),
    /// The same, after a while.
    After(Duration, u16, String),
    /// The half of a body, and then the end of the connection.
    CutOff,
}

pub struct KubeApi {
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    authority: CertifiedIssuer<'static, KeyPair>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl KubeApi {
    /// Starts to listen on 127.0.0.1. `reply` gets the number of the question, from 0.
    pub fn start(reply: impl Fn(usize, &Asked) -> Reply + Send + Sync + 'static) -> Self {
        Self::listen(reply, false)
    }

    /// The same, for clients with a certificate of its authority only.
    pub fn for_certificates(reply: impl Fn(usize, &Asked) -> Reply + Send + Sync + 'static) -> Self {
        Self::listen(reply, true)
    }

    fn listen(reply: impl Fn(usize, &Asked) -> Reply + Send + Sync + 'static, certificates: bool) -> Self {
        let authority = authority();
        let tls = TlsAcceptor::from(Arc::new(server(&authority, certificates)));
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let (stop, stopped) = oneshot::channel();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let log = Arc::clone(&asked);
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                tokio::select! {
                    () = serve(TcpListener::from_std(listener).unwrap(), tls, log, Arc::new(reply)) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { address, asked, authority, stop: Some(stop), thread: Some(thread) }
    }

    /// All questions so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// Its certificate authority, as PEM.
    pub fn authority(&self) -> String {
        self.authority.pem()
    }

    /// A client's certificate and key in one file, as the kubelet has it.
    pub fn client(&self) -> String {
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(Vec::new()).unwrap().signed_by(&key, &self.authority).unwrap();
        certificate.pem() + &key.serialize_pem()
    }

    /// Writes a kubeconfig for it into `folder`, with this text for the user.
    pub fn kubeconfig(&self, folder: &Path, user: &str) -> PathBuf {
        fs::write(folder.join("ca.crt"), self.authority()).unwrap();
        let yaml = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
             contexts: [{{name: c, context: {{cluster: k, user: u}}}}]\n\
             clusters:\n- name: k\n  cluster: {{server: 'https://{}', certificate-authority: ca.crt}}\n\
             users:\n- name: u\n  user: {user}\n",
            self.address
        );
        let path = folder.join("kubeconfig");
        fs::write(&path, yaml).unwrap();
        path
    }
}

impl Drop for KubeApi {
    fn drop(&mut self) {
        drop(self.stop.take());
        let _ = self.thread.take().map(thread::JoinHandle::join);
    }
}

/// The JSON of a pod as an API server gives it, with this `securityContext`.
pub fn pod(uid: &str, security_context: &str) -> String {
    format!(
        r#"{{"kind":"Pod","apiVersion":"v1","metadata":{{"name":"web","namespace":"default","uid":"{uid}",
        "resourceVersion":"4711","labels":{{"app":"web"}},"managedFields":[{{"manager":"kubectl"}}]}},
        "spec":{{"volumes":[],"containers":[{{"name":"app","image":"x"}}],"securityContext":{security_context},
        "nodeName":"n1"}},"status":{{"phase":"Pending"}}}}"#
    )
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn server(authority: &CertifiedIssuer<'static, KeyPair>, certificates: bool) -> ServerConfig {
    let key = KeyPair::generate().unwrap();
    let names = vec!["127.0.0.1".to_owned()];
    let certificate = CertificateParams::new(names).unwrap().signed_by(&key, authority).unwrap();
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = if certificates {
        let mut roots = RootCertStore::empty();
        roots.add(authority.der().clone()).unwrap();
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        builder.with_client_cert_verifier(verifier)
    } else {
        builder.with_no_client_auth()
    };
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    builder.with_single_cert(vec![certificate.der().clone()], key).unwrap()
}

async fn serve(
    listener: TcpListener,
    tls: TlsAcceptor,
    log: Arc<Mutex<Vec<Asked>>>,
    reply: Arc<impl Fn(usize, &Asked) -> Reply + Send + Sync + 'static>,
) {
    loop {
        let (tcp, _) = listener.accept().await.unwrap();
        let (tls, log, reply) = (tls.clone(), Arc::clone(&log), Arc::clone(&reply));
        tokio::spawn(async move {
            // A client that does not trust us goes away here.
            let Ok(mut stream) = tls.accept(tcp).await else { return };
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read_u8().await {
                    Ok(byte) => head.push(byte),
                    Err(_) => return,
                }
            }
            let head = String::from_utf8(head).unwrap();
            let authorization = head.lines().find_map(|line| line.strip_prefix("authorization: "));
            let asked = Asked {
                line: head.lines().next().unwrap().to_owned(),
                authorization: authorization.map(str::to_owned),
            };
            let number = {
                let mut log = log.lock().unwrap();
                log.push(asked.clone());
                log.len() - 1
            };
            let (status, body, sent) = match reply(number, &asked) {
                Reply::Now(status, body) => (status, body, usize::MAX),
                Reply::After(time, status, body) => {
                    tokio::time::sleep(time).await;
                    (status, body, usize::MAX)
                }
                Reply::CutOff => (200, pod("cut-off", "{}"), 100),
            };
            let head = format!(
                "HTTP/1.1 {status} -\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            let part = &body.as_bytes()[..sent.min(body.len())];
            let _ = stream.write_all(&[head.as_bytes(), part].concat()).await;
            if sent == usize::MAX {
                let _ = stream.shutdown().await;
            }
        });
    }
}
