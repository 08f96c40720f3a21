//! What follows a start and a reload once the node is served again: memory that only they needed goes back.

use std::time::Duration;

use crate::kernel::sys;

/// By then what was behind while rules were put in force is done, and the rule set before is gone.
const AFTER: Duration = Duration::from_secs(5);

/// Gives memory back in a moment, beside everything else.
pub(super) fn lower_soon() {
    tokio::spawn(async {
        tokio::time::sleep(AFTER).await;
        // Without the answer nothing is missed but why there is more in use than need be.
        let _ = tokio::task::spawn_blocking(|| {
            sys::return_free();
            if let Err(error) = sys::let_go_of_code() {
                tracing::debug!("Code that only starts stays in memory: {error}");
            }
        })
        .await;
    });
}
