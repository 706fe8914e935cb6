//! Whether a process can change who it is, by itself.
//!
//! `setgroups(2)` and `setgid(2)` need `CAP_SETGID`, `setuid(2)` needs `CAP_SETUID`, in the process's own user
//! namespace. A process that has the capability permitted uses it at will. One that only has it in its bounding
//! set gets it by running a program that the image gave the set-user-ID bit or file capabilities, unless
//! `no_new_privs` forbids that (`capabilities(7)`). Kubernetes' `allowPrivilegeEscalation: false` is `no_new_privs`.

/// Bits of a capability set, as `capabilities(7)` numbers them.
const SETGID: u64 = 1 << 6;
const SETUID: u64 = 1 << 7;

/// How a process gets at one kind of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// It does it at will: the capability is permitted.
    AtWill,
    /// By running a privileged program, if there is one that it may run: the capability is in the bounding set only.
    ByExec,
    /// Not at all.
    No,
}

/// What a process can change of its own identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abilities {
    /// Its groups, supplementary and primary.
    pub groups: Way,
    /// Its user.
    pub user: Way,
    /// Whether it runs with `no_new_privs`.
    pub no_new_privs: bool,
}

impl Abilities {
    /// Reads the text of a `/proc/PID/status`. None: a line is missing or odd.
    #[must_use]
    pub fn read(status: &str) -> Option<Self> {
        let line = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
        let set = |key| u64::from_str_radix(line(key)?, 16).ok();
        let (permitted, bounding) = (set("CapPrm:")?, set("CapBnd:")?);
        let no_new_privs = match line("NoNewPrivs:")? {
            "0" => false,
            "1" => true,
            _ => return None,
        };
        let way = |capability| match () {
            () if permitted & capability != 0 => Way::AtWill,
            () if bounding & capability != 0 && !no_new_privs => Way::ByExec,
            () => Way::No,
        };
        Some(Self { groups: way(SETGID), user: way(SETUID), no_new_privs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(permitted: u64, bounding: u64, no_new_privs: u8) -> Abilities {
        let status = format!(
            "Name:\tx\nCapInh:\t0000000000000000\nCapPrm:\t{permitted:016x}\nCapEff:\t0000000000000000\n\
             CapBnd:\t{bounding:016x}\nNoNewPrivs:\t{no_new_privs}\n"
        );
        Abilities::read(&status).unwrap()
    }

    #[test]
    fn permitted_is_at_will_whatever_else_holds() {
        let able = read(SETGID, 0, 1);
        assert_eq!(able, Abilities { groups: Way::AtWill, user: Way::No, no_new_privs: true });
        assert_eq!(read(SETGID | SETUID, u64::MAX, 0).user, Way::AtWill);
    }

    #[test]
    fn bounding_set_counts_unless_no_new_privs() {
        let able = read(0, SETUID, 0);
        assert_eq!(able, Abilities { groups: Way::No, user: Way::ByExec, no_new_privs: false });
        assert_eq!(read(0, u64::MAX, 1), Abilities { groups: Way::No, user: Way::No, no_new_privs: true });
    }

    #[test]
    fn bits_are_the_kernels() {
        // What Docker and containerd give by default.
        let default = read(0xa804_25fb, 0xa804_25fb, 0);
        assert_eq!((default.groups, default.user), (Way::AtWill, Way::AtWill));
        assert_eq!(read(!(SETGID | SETUID), !(SETGID | SETUID), 0).groups, Way::No);
    }

    #[test]
    fn our_own_status_is_understood() {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        assert!(Abilities::read(&status).is_some());
    }

    #[test]
    fn odd_lines_are_not_guessed_at() {
        let good = "CapPrm:\t0\nCapBnd:\t0\nNoNewPrivs:\t0\n";
        assert!(Abilities::read(good).is_some());
        for missing in ["CapPrm:\t0\n", "CapBnd:\t0\n", "NoNewPrivs:\t0\n"] {
            assert_eq!(Abilities::read(&good.replace(missing, "")), None);
        }
        assert_eq!(Abilities::read(&good.replace("NoNewPrivs:\t0", "NoNewPrivs:\t2")), None);
        assert_eq!(Abilities::read(&good.replace("CapBnd:\t0", "CapBnd:\tx")), None);
    }
}
