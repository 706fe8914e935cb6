//! Swaps a file right after it was read: `swapper DIRECTORY`, from inside a container, without any privilege.
//!
//! An order is a file `order`, written in place: a serial number, after how many reads to swap, and, each on one
//! line with `\n` written as `|`, what the file `grp` has until then and after that. When everything is in its place
//! the serial number is in the file `ready`.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::FromRawFd;
use std::path::Path;

// inotify(7).
const IN_CLOSE_WRITE: u32 = 0x8;
const IN_CLOSE_NOWRITE: u32 = 0x10;

unsafe extern "C" {
    fn inotify_init1(flags: i32) -> i32;
    fn inotify_add_watch(fd: i32, path: *const std::ffi::c_char, mask: u32) -> i32;
}

fn main() {
    let directory = std::env::args().nth(1).expect("a directory");
    let path = std::ffi::CString::new(directory.as_str()).expect("a path");
    // SAFETY: the path ends with a zero byte and lives on; the descriptor is nobody else's.
    let mut events = unsafe {
        let fd = inotify_init1(0);
        assert!(fd >= 0 && inotify_add_watch(fd, path.as_ptr(), IN_CLOSE_WRITE | IN_CLOSE_NOWRITE) >= 0, "inotify");
        File::from_raw_fd(fd)
    };
    let directory = Path::new(&directory);
    let (evil, good, file) = (directory.join("grp.evil"), directory.join("grp.good"), directory.join("grp"));
    fs::write(directory.join("ready"), "0").expect("ready");

    let (mut reads, mut buffer) = (0_u32, [0_u8; 65536]);
    loop {
        let length = events.read(&mut buffer).expect("events");
        let mut rest = &buffer[..length];
        while let Some((head, after)) = rest.split_at_checked(16) {
            let number = |at: usize| u32::from_ne_bytes(head[at..at + 4].try_into().expect("four bytes"));
            let (name, after) = after.split_at(number(12) as usize);
            rest = after;
            let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
            if name == b"grp" && number(4) & IN_CLOSE_NOWRITE != 0 && reads > 0 {
                reads -= 1;
                if reads == 0 {
                    fs::rename(&evil, &file).expect("swapping");
                }
            } else if name == b"order" && number(4) & IN_CLOSE_WRITE != 0 {
                let order = fs::read_to_string(directory.join("order")).expect("the order");
                let mut lines = order.lines();
                let mut line = || lines.next().expect("a line").replace('|', "\n");
                let serial = line();
                reads = line().parse().expect("a number");
                fs::write(&good, line()).expect("writing");
                fs::write(&evil, line()).expect("writing");
                fs::rename(&good, &file).expect("renaming");
                fs::write(directory.join("ready"), serial).expect("ready");
            }
        }
    }
}
