//! Kernel programs; see `main.rs`. Empty on purpose: the library target only lets cargo name the crate.
#![no_std]
