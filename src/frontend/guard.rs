//! tract's panics as errors.
//!
//! tract refuses most of what it cannot do with an error, and some of it, on
//! damaged models above all, with a panic. Its work changes nothing but what
//! it returns, so nothing half-done is left behind.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Does the work; what a panic in it said is the error.
pub(crate) fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| {
        let said = payload
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| payload.downcast_ref::<&str>().copied());
        format!("tract panicked: {}", said.unwrap_or("it left no message"))
    })
}
