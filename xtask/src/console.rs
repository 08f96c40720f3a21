//! The only place that writes to the terminal: data and progress on standard output, faults on standard error.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool talks to its terminal")]

use std::io::{self, Write};

/// One line on standard output.
pub(crate) fn say(line: impl AsRef<str>) {
    println!("{}", line.as_ref());
}

/// The start of a line that [`say`] will end, shown at once.
pub(crate) fn begin(text: impl AsRef<str>) {
    print!("{}", text.as_ref());
    // A terminal that is gone is no reason to stop the work.
    drop(io::stdout().flush());
}

/// One line on standard error.
pub(crate) fn complain(line: impl AsRef<str>) {
    eprintln!("{}", line.as_ref());
}

/// A command's failure with the chain of its causes.
pub(crate) fn error(error: &anyhow::Error) {
    eprintln!("error: {error}");
    for cause in error.chain().skip(1) {
        eprintln!("  because: {cause}");
    }
}

/// Rows under a header, each column as wide as its widest cell.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) {
    let mut widths: Vec<usize> = header.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &[String]| {
        let padded: Vec<String> =
            cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        say(format!("  {}", padded.join("  ").trim_end()));
    };
    line(&header.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>());
    line(&widths.iter().map(|width| "-".repeat(*width)).collect::<Vec<_>>());
    for row in rows {
        line(row);
    }
}
