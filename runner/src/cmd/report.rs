//! `kvet report`.

use std::path::{Path, PathBuf};

use crate::cmd::args::{ReportArgs, ReportFormat};
use crate::cmd::print_bytes;
use crate::cmd::running::make_folder_of;
use crate::error::{Error, Result, exit};
use crate::event::RunReport;
use crate::report::diff::{self, Diff};
use crate::report::merge::{check_counts, merge};
use crate::report::store::{load, store_report};
use crate::report::table::{Table, html, markdown, text};
use crate::report::term::{ColorChoice, harmless, harmless_json};
use crate::report::{junit, latest};
use kvet_host::fs::write_atomic;

/// Shows, compares or merges runs.
pub fn run(args: &ReportArgs, color: ColorChoice) -> Result<u8> {
    if args.diff {
        return compare(args);
    }
    let merged;
    let report = if args.merge {
        let shards = args.runs.iter().map(|path| load(path)).collect::<Result<Vec<RunReport>>>()?;
        shards.iter().try_for_each(check_counts)?;
        merged = merge(&shards)?;
        if let Some(folder) = &args.into {
            store_report(folder, &merged)?;
        }
        merged
    } else {
        match &args.runs[..] {
            [] => {
                let (run, remark) = latest::find(Path::new("results"))?;
                if let Some(remark) = remark {
                    tell!("note: {remark}");
                }
                load(&run)?
            }
            [one] => load(one)?,
            _ => {
                return Err(Error::caller("several runs were given, and nothing to do with them")
                    .hint("--diff A B compares two, --merge A B … puts shards together"));
            }
        }
    };
    show(args, &report, color)?;
    // What is merged is a verdict; what is only looked at has had its own.
    Ok(if args.merge { report.exit_code } else { exit::PASSED })
}

fn show(args: &ReportArgs, report: &RunReport, color: ColorChoice) -> Result<()> {
    let table = Table::of(report);
    let place = args.output.as_deref().and_then(Path::parent).unwrap_or(&report.dir).to_owned();
    let bytes = match args.format {
        ReportFormat::Table => {
            use std::io::IsTerminal;
            let terminal = args.output.is_none() && std::io::stdout().is_terminal();
            let options = text::Options { color: color.is_on(terminal), all: args.all };
            for_people(args, text::render(&table, options))
        }
        ReportFormat::Md => markdown::render(&table).into_bytes(),
        ReportFormat::Html => html::render(&table, &place).into_bytes(),
        ReportFormat::Junit => junit::to_xml(report)?,
        ReportFormat::Json => for_tools(args, json(&table)?),
    };
    deliver(args.output.as_ref(), &bytes)
}

fn compare(args: &ReportArgs) -> Result<u8> {
    let [before, after] = &args.runs[..] else {
        return Err(Error::caller(format!("--diff compares two runs, and {} were given", args.runs.len()))
            .hint("kvet report --diff results/BEFORE results/AFTER"));
    };
    let diff = Diff::of(&load(before)?, &load(after)?);
    let bytes = match args.format {
        ReportFormat::Table => for_people(args, diff::text(&diff)),
        ReportFormat::Md => diff::markdown(&diff).into_bytes(),
        ReportFormat::Json => for_tools(args, json(&diff)?),
        ReportFormat::Html | ReportFormat::Junit => {
            return Err(Error::caller("--diff has the formats table, md and json"));
        }
    };
    deliver(args.output.as_ref(), &bytes)?;
    Ok(if diff.is_worse() { exit::FAILED } else { exit::PASSED })
}

fn json(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string_pretty(value)
        .map(|text| text + "\n")
        .map_err(|e| Error::host("cannot turn the report into JSON").because(e))
}

/// The same care as [`for_people`].
fn for_tools(args: &ReportArgs, text: String) -> Vec<u8> {
    if args.output.is_some() { text.into_bytes() } else { harmless_json(&text).into_bytes() }
}

/// In the log of a CI job it must not be taken for commands; a file is no log.
fn for_people(args: &ReportArgs, text: String) -> Vec<u8> {
    if args.output.is_some() { text.into_bytes() } else { harmless(&text).into_bytes() }
}

fn deliver(output: Option<&PathBuf>, bytes: &[u8]) -> Result<()> {
    match output {
        Some(path) => {
            make_folder_of(path)?;
            write_atomic(path, bytes)
        }
        None => print_bytes(bytes).map(drop),
    }
}
