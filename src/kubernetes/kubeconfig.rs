//! A kubeconfig file (`v1.Config` of client-go's `clientcmd`), as far as it is of use here. Pure.
//!
//! What would run a program (`exec`), send secrets through somebody else (`proxy-url`) or trust
//! anybody (`insecure-skip-tls-verify`) is refused rather than left out.

use std::path::{Path, PathBuf};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, de::IgnoredAny};

use super::AccessError;
use strict_groups_core::text;

/// How to reach one cluster as one user.
#[derive(Debug, PartialEq)]
pub(super) struct Chosen {
    pub(super) server: String,
    pub(super) authority: Content,
    pub(super) server_name: Option<String>,
    pub(super) token: Option<Content>,
    /// Certificate and key.
    pub(super) client: Option<(Content, Content)>,
}

/// What stands in the file itself, or in another one.
#[derive(Debug, PartialEq)]
pub(super) enum Content {
    Here(Vec<u8>),
    File(PathBuf),
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct File {
    current_context: String,
    contexts: Vec<NamedContext>,
    clusters: Vec<NamedCluster>,
    users: Vec<NamedUser>,
}

#[derive(Deserialize)]
struct NamedContext {
    name: String,
    context: Context,
}

#[derive(Deserialize)]
struct Context {
    cluster: String,
    user: String,
}

#[derive(Deserialize)]
struct NamedCluster {
    name: String,
    cluster: Cluster,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    server: String,
    certificate_authority: Option<PathBuf>,
    certificate_authority_data: Option<String>,
    tls_server_name: Option<String>,
    #[serde(default)]
    insecure_skip_tls_verify: bool,
    proxy_url: Option<String>,
}

#[derive(Deserialize)]
struct NamedUser {
    name: String,
    user: User,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct User {
    token: Option<String>,
    #[serde(rename = "tokenFile")]
    token_file: Option<PathBuf>,
    client_certificate: Option<PathBuf>,
    client_certificate_data: Option<String>,
    client_key: Option<PathBuf>,
    client_key_data: Option<String>,
    exec: Option<IgnoredAny>,
    auth_provider: Option<IgnoredAny>,
    username: Option<IgnoredAny>,
}

/// Reads the current context of the kubeconfig at `path`, whose folder relative paths are in.
pub(super) fn parse(yaml: &str, path: &Path) -> Result<Chosen, AccessError> {
    let file: File = serde_saphyr::from_str(yaml).map_err(|error| AccessError::NotUnderstood {
        path: path.to_owned(),
        // What follows shows the lines around, which may have a token in them.
        reason: text::one_line(error.to_string().lines().next().unwrap_or_default(), 160),
    })?;
    let context = find(&file.contexts, "context", &file.current_context, |one| (&one.name, &one.context))?;
    let cluster = find(&file.clusters, "cluster", &context.cluster, |one| (&one.name, &one.cluster))?;
    let user = find(&file.users, "user", &context.user, |one| (&one.name, &one.user))?;
    supported(cluster, user)?;

    let folder = path.parent().unwrap_or(Path::new("/"));
    let either = |what, data: Option<&str>, file: Option<&PathBuf>| -> Result<Option<Content>, AccessError> {
        match (data, file) {
            (Some(data), _) => decode(what, data).map(Content::Here).map(Some),
            (None, Some(file)) => Ok(Some(Content::File(folder.join(file)))),
            (None, None) => Ok(None),
        }
    };
    let authority = either(
        "certificate-authority-data",
        cluster.certificate_authority_data.as_deref(),
        cluster.certificate_authority.as_ref(),
    )?;
    let certificate = either(
        "client-certificate-data",
        user.client_certificate_data.as_deref(),
        user.client_certificate.as_ref(),
    )?;
    let key = either("client-key-data", user.client_key_data.as_deref(), user.client_key.as_ref())?;
    // As client-go has it, the file goes first: it may have a newer one.
    let token = match (&user.token_file, &user.token) {
        (Some(file), _) => Some(Content::File(folder.join(file))),
        (None, Some(token)) => Some(Content::Here(token.clone().into_bytes())),
        (None, None) => None,
    };
    Ok(Chosen {
        server: cluster.server.clone(),
        authority: authority.ok_or(AccessError::NotSupported {
            field: "a cluster without certificate-authority",
            instead: "certificate-authority or certificate-authority-data",
        })?,
        server_name: cluster.tls_server_name.clone(),
        token,
        client: certificate.zip(key),
    })
}

fn find<'a, N, T>(
    all: &'a [N],
    what: &'static str,
    name: &str,
    parts: fn(&'a N) -> (&'a String, &'a T),
) -> Result<&'a T, AccessError> {
    all.iter()
        .map(parts)
        .find(|(found, _)| *found == name)
        .map(|(_, value)| value)
        .ok_or_else(|| AccessError::NoSuch { what, name: name.to_owned() })
}

fn supported(cluster: &Cluster, user: &User) -> Result<(), AccessError> {
    const CREDENTIAL: &str = "a client certificate, token or tokenFile";
    for (present, field, instead) in [
        (cluster.insecure_skip_tls_verify, "insecure-skip-tls-verify", "certificate-authority"),
        (cluster.proxy_url.is_some(), "proxy-url", "a server that is reached directly"),
        (user.exec.is_some(), "exec", CREDENTIAL),
        (user.auth_provider.is_some(), "auth-provider", CREDENTIAL),
        (user.username.is_some(), "username", CREDENTIAL),
    ] {
        if present {
            return Err(AccessError::NotSupported { field, instead });
        }
    }
    Ok(())
}

fn decode(what: &'static str, data: &str) -> Result<Vec<u8>, AccessError> {
    STANDARD
        .decode(data.trim())
        .map_err(|error| AccessError::BadCredential { what, reason: text::one_line(&error.to_string(), 96) })
}

#[cfg(test)]
mod tests;
