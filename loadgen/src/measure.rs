//! What the kernel says about processes, threads and this machine. Reads `/proc` and `/sys` only;
//! judges nothing.

pub mod machine;
mod process;
mod threads;

use std::fs;

pub use process::{Sample, command_line, sample};
pub use threads::{ThreadTime, own_thread, thread_time};

/// Value of a line `name   123 kB`, 0 if there is none.
pub fn kilobytes(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// First line of a file, without the spaces around it; `None` if it cannot be read.
fn first_line(path: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.lines().next().unwrap_or_default().trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_of_a_status_line_is_read() {
        assert_eq!(kilobytes("VmRSS:\t  10 kB\nRssAnon:\t   512 kB\n", "RssAnon:"), 512);
        assert_eq!(kilobytes("", "RssAnon:"), 0);
    }
}
