//! The body of the fuzz target `kubeconfig`.

/// What is understood has a server and nothing that runs a program, and every path in it is absolute or in the file's
/// own folder; what is refused shows no secret of it. Nothing without the feature `kubernetes-api`.
#[cfg(feature = "kubernetes-api")]
pub(crate) fn kubeconfig(data: &[u8]) {
    use std::path::Path;

    use super::kubeconfig::{Content, parse};
    use strict_groups_core::fuzzing::presentable;

    let Ok(text) = std::str::from_utf8(data) else { return };
    match parse(text, Path::new("/etc/kubernetes/kubelet.conf")) {
        Ok(chosen) => {
            let (certificate, key) = chosen.client.unzip();
            for content in [Some(chosen.authority), chosen.token, certificate, key].into_iter().flatten() {
                if let Content::File(path) = content {
                    assert!(path.is_absolute(), "{}", path.display());
                }
            }
        }
        Err(error) => presentable(&error),
    }
}

/// Nothing is there to read one.
#[cfg(not(feature = "kubernetes-api"))]
pub(crate) fn kubeconfig(_: &[u8]) {}
