#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| strict_groups::fuzzing::kubeconfig(data));
