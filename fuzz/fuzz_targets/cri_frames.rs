#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| strict_groups::fuzzing::cri_frames(data));
