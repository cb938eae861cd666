//! Placeholder head.
#![no_std]
#![no_main]
