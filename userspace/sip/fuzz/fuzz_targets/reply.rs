//! See `reply` in `tests/exercise/mod.rs`.
#![no_main]

#[path = "../../tests/exercise/mod.rs"]
mod exercise;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    exercise::reply(data);
    exercise::made_of_invite(data);
});
