use super::*;

/// As kubeadm writes it for the kubelet.
const KUBELET: &str = r#"
apiVersion: v1
kind: Config
preferences: {}
clusters:
- cluster:
    certificate-authority-data: Q0E=
    server: https://192.0.2.1:6443
  name: kubernetes
- {name: other, cluster: {server: "https://other", certificate-authority: ca.pem, tls-server-name: api}}
contexts:
- context:
    cluster: kubernetes
    user: system:node:n1
  name: system:node:n1@kubernetes
- {name: second, context: {cluster: other, user: robot}}
current-context: system:node:n1@kubernetes
users:
- name: system:node:n1
  user:
    client-certificate: /var/lib/kubelet/pki/kubelet-client-current.pem
    client-key: /var/lib/kubelet/pki/kubelet-client-current.pem
- {name: robot, user: {token: old, tokenFile: token}}
"#;

fn chosen(yaml: &str) -> Result<Chosen, AccessError> {
    parse(yaml, Path::new("/etc/kubernetes/kubelet.conf"))
}

fn second(from: &str, to: &str) -> Result<Chosen, AccessError> {
    assert!(KUBELET.contains(from));
    chosen(
        &KUBELET
            .replace("current-context: system:node:n1@kubernetes", "current-context: second")
            .replace(from, to),
    )
}

#[test]
fn kubelets_own_file_is_understood() {
    let pem = || Content::File("/var/lib/kubelet/pki/kubelet-client-current.pem".into());
    let wanted = Chosen {
        server: "https://192.0.2.1:6443".into(),
        authority: Content::Here(b"CA".into()),
        server_name: None,
        token: None,
        client: Some((pem(), pem())),
    };
    assert_eq!(chosen(KUBELET).unwrap(), wanted);
}

#[test]
fn relative_paths_are_beside_the_file() {
    let file = |name: &str| Content::File(Path::new("/etc/kubernetes").join(name));
    let wanted = Chosen {
        server: "https://other".into(),
        authority: file("ca.pem"),
        server_name: Some("api".into()),
        token: Some(file("token")),
        client: None,
    };
    assert_eq!(second("", "").unwrap(), wanted);
}

#[test]
fn json_is_yaml() {
    let json = r#"{"current-context":"c","contexts":[{"name":"c","context":{"cluster":"k","user":"u"}}],
        "clusters":[{"name":"k","cluster":{"server":"https://h","certificate-authority":"/ca"}}],
        "users":[{"name":"u","user":{"token":"t"}}]}"#;
    assert_eq!(chosen(json).unwrap().token, Some(Content::Here(b"t".into())));
}

#[test]
fn what_is_not_safe_or_not_known_is_refused() {
    for (from, to, words) in [
        ("tls-server-name: api", "insecure-skip-tls-verify: true", "insecure-skip-tls-verify"),
        ("tls-server-name: api", "proxy-url: http://p", "proxy-url"),
        (
            "token: old",
            "exec: {command: evil}",
            "exec in the kubeconfig is not supported; use a client certificate",
        ),
        ("token: old", "auth-provider: {name: gcp}", "auth-provider"),
        ("token: old", "username: admin", "username"),
        (", certificate-authority: ca.pem", "", "without certificate-authority"),
        ("name: robot", "name: robota", "has no user \"robot\""),
        ("name: other", "name: others", "has no cluster \"other\""),
        ("name: second", "name: first", "has no context \"second\""),
        (
            "certificate-authority: ca.pem",
            "certificate-authority-data: '?'",
            "certificate-authority-data is not usable",
        ),
    ] {
        let error = second(from, to).unwrap_err().to_string();
        assert!(error.contains(words), "{words}: {error}");
    }
}

#[test]
fn what_is_no_kubeconfig_is_one_line_without_its_secrets() {
    for yaml in ["", "token: s3cret", "[s3cret", "current-context: 5\nusers: [s3cret]\n", "\t s3cret"] {
        let error = chosen(yaml).unwrap_err().to_string();
        assert!(
            error.starts_with("the kubeconfig /etc/kubernetes/kubelet.conf is not understood: "),
            "{error}"
        );
        assert!(!error.contains('\n') && !error.contains("s3cret"), "{error}");
    }
}
