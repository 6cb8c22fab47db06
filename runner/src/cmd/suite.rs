//! `kvet suite`.

use std::fmt::Write;

use crate::arch::Arch;
use crate::cmd::args::SuiteCommand;
use crate::cmd::{find_home, print};
use crate::error::Result;
use crate::spec::home::Home;
use crate::spec::suite::{self, Build, Need};
use crate::upstream::manifest::Manifest;

/// Lists suites, or shows one.
pub fn run(command: SuiteCommand) -> Result<u8> {
    let home = find_home()?;
    match command {
        SuiteCommand::List => {
            let suites = suite::shipped(&home)?;
            let width = suites.keys().map(String::len).max().unwrap_or(0);
            let lines = suites.iter().map(|(name, (_, spec))| format!("{name:width$}  {}\n", spec.title));
            print(&lines.collect::<String>())
        }
        SuiteCommand::Show { name } => print(&show(&home, &name)?),
    }
}

fn show(home: &Home, name: &str) -> Result<String> {
    let (manifest, spec) = suite::find(home, name)?;
    let mut text =
        format!("name      {}\ntitle     {}\nmanifest  {}\n", spec.name, spec.title, manifest.display());
    let _ = writeln!(
        text,
        "format    {}\nprogram   {} {}",
        spec.format.name(),
        spec.program,
        spec.args.join(" ")
    );
    if spec.build == Some(Build::Upstream) {
        text += &slices(&Manifest::load(home)?);
    }
    match spec.root {
        suite::Root::None => {}
        suite::Root::Userland => text.push_str("root      userland\n"),
        suite::Root::Host => text.push_str("root      host\n"),
    }
    if !spec.modules.is_empty() {
        let _ = writeln!(text, "modules   {}", spec.modules.join(" "));
    }
    for (symbol, need) in &spec.kconfig {
        let need = match need {
            Need::BuiltIn => "y",
            Need::Module => "y or m",
        };
        let _ = writeln!(text, "needs     {symbol}={need}");
    }
    if !spec.tell.is_empty() {
        let options: Vec<&str> = spec.tell.keys().map(String::as_str).collect();
        let _ = writeln!(text, "told      {}", options.join(" "));
    }
    match spec.resolve(&manifest, home, Arch::host()?) {
        Ok(suite) => {
            for test in suite.tests.unwrap_or_default() {
                let _ = writeln!(text, "test      {test}");
            }
        }
        Err(e) => {
            let hint = e.hint_text().map(|hint| format!(" ({hint})")).unwrap_or_default();
            let _ = writeln!(text, "problem   {e}{hint}");
        }
    }
    Ok(text)
}

/// The slices of the kernel's own selftests.
fn slices(manifest: &Manifest) -> String {
    let mut text = format!("default   --slice {}\n", manifest.default.join(" --slice "));
    let width = manifest.slices.keys().map(String::len).max().unwrap_or(0);
    for (name, slice) in &manifest.slices {
        let tests: Vec<&str> = slice.tests.iter().map(|test| test.name.as_str()).collect();
        let _ = writeln!(text, "slice     {name:width$}  {} ({})", slice.title, tests.join(", "));
    }
    text
}
