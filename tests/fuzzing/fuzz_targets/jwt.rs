#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    tests::foreign::jwt(bytes);
});
