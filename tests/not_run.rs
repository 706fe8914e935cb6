//! Names what `cargo test` leaves out: what needs root and real container runtimes.

fn main() {
    println!(
        "\nnot run here, because it needs root, and gets real container runtimes and a virtual machine first:\n  \
         make test: crates/e2e (containerd, runc, crun, gVisor, the plugin as a process), the package in a virtual machine\n"
    );
}
