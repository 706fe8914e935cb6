//! Names what `cargo test` leaves out: what needs root and real container runtimes. Tests that need root alone are listed as
//! ignored.

fn main() {
    // With arguments, tests are chosen or listed.
    if std::env::args().len() > 1 {
        return;
    }
    println!(
        "\nnot run by `cargo test`: crates/e2e (containerd, runc, crun, conmon, podman, the plugin as a process), the package in \
         a virtual machine, and what is listed as \"ignored, needs root\"; as root: make test\n"
    );
}
