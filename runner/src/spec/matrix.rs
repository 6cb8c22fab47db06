//! `configs/matrix/*.yaml`: which kernels, architectures and suites make a matrix.

use std::path::{Path, PathBuf};
use std::time::Duration;

use globset::GlobBuilder;
use serde::Deserialize;

use crate::arch::Arch;
use crate::error::{Error, Result};
use crate::spec::{suite, units};

/// A matrix as its file says it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MatrixSpec {
    /// One line for people.
    #[serde(default)]
    pub title: String,
    /// Kernels, as for `-k`.
    #[serde(default)]
    pub kernels: Vec<String>,
    /// Architectures; none: the host's.
    #[serde(default)]
    pub archs: Vec<Arch>,
    /// Suites, as for `-s`; none: the default suite. Paths are found from the matrix's folder.
    #[serde(default)]
    pub suites: Vec<String>,
    /// Settings of every cell.
    #[serde(default)]
    pub settings: CellSettings,
    /// Cells that are left out.
    #[serde(default)]
    pub exclude: Vec<Selector>,
    /// Cells that are added, or settings of cells that are there.
    #[serde(default)]
    pub include: Vec<Include>,
}

/// What can be set for a cell.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CellSettings {
    /// The guest's memory, MiB.
    #[serde(default, deserialize_with = "units::de_mebibytes")]
    pub memory: Option<u32>,
    /// The guest's CPUs.
    #[serde(default)]
    pub cpus: Option<u32>,
    /// How long one test may take.
    #[serde(default, deserialize_with = "units::de_duration")]
    pub timeout: Option<Duration>,
    /// How long the cell may take.
    #[serde(default, deserialize_with = "units::de_duration")]
    pub deadline: Option<Duration>,
    /// How the suite's files get to the guest.
    #[serde(default)]
    pub share: Option<ShareWay>,
    /// Whether what cannot be tested fails.
    #[serde(default)]
    pub strict: Option<bool>,
    /// Config fragments of a kernel that is built, as for `--config`; files are found from the matrix's folder.
    #[serde(default)]
    pub config: Vec<PathBuf>,
}

impl CellSettings {
    /// These, and where they say nothing, those.
    #[must_use]
    pub fn or(self, other: &Self) -> Self {
        Self {
            memory: self.memory.or(other.memory),
            cpus: self.cpus.or(other.cpus),
            timeout: self.timeout.or(other.timeout),
            deadline: self.deadline.or(other.deadline),
            share: self.share.or(other.share),
            strict: self.strict.or(other.strict),
            config: if self.config.is_empty() { other.config.clone() } else { self.config },
        }
    }
}

/// How the suite's files get to the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShareWay {
    /// Over 9p.
    #[serde(rename = "9p")]
    NineP,
    /// In the initramfs.
    Initramfs,
}

/// Names cells: those that match everything that is said.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Selector {
    /// A kernel as it is written above, or a glob over them.
    #[serde(default)]
    pub kernel: Option<String>,
    /// An architecture.
    #[serde(default)]
    pub arch: Option<Arch>,
    /// A suite.
    #[serde(default)]
    pub suite: Option<String>,
}

/// A cell that is added; or, where cells match, settings for these.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Include {
    /// A kernel.
    #[serde(default)]
    pub kernel: Option<String>,
    /// An architecture.
    #[serde(default)]
    pub arch: Option<Arch>,
    /// A suite.
    #[serde(default)]
    pub suite: Option<String>,
    /// Settings.
    #[serde(default)]
    pub settings: CellSettings,
}

/// One cell of a matrix, as its file has it.
#[derive(Debug, Clone, PartialEq)]
pub struct MatrixCell {
    /// The kernel.
    pub kernel: String,
    /// The architecture.
    pub arch: Arch,
    /// The suite.
    pub suite: String,
    /// Its settings.
    pub settings: CellSettings,
    /// Where its kernel stands: `configs/matrix/dynptr.yaml:7`. None where no file names it.
    pub place: Option<String>,
}

/// What the file may leave out.
#[derive(Debug, Clone)]
pub struct Defaults {
    /// Where `archs` is empty.
    pub arch: Arch,
    /// Where `suites` is empty.
    pub suite: String,
}

/// Reads a matrix.
///
/// # Errors
/// The caller's: the file is not there or not what it should be; the message has its name and, where there is one, the line.
pub fn load(path: &Path, defaults: &Defaults) -> Result<Vec<MatrixCell>> {
    let (spec, text) = super::load_with_text::<MatrixSpec>(path)?;
    let mut cells = cells(&spec, &Source { name: path.display().to_string(), text }, defaults)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    for suite in cells.iter_mut().map(|cell| &mut cell.suite) {
        if suite::is_path(suite) {
            let found = folder.join(&*suite);
            *suite = found.to_str().map(str::to_owned).ok_or_else(|| {
                Error::caller(format!("{}: the path of a suite has to be UTF-8", found.display()))
            })?;
        }
    }
    for fragment in cells.iter_mut().flat_map(|cell| &mut cell.settings.config) {
        // `debug` is one of ours, and tree:… is below the source.
        let name = fragment.to_string_lossy();
        if name.contains(['/', '.']) && !name.starts_with("tree:") {
            *fragment = folder.join(&*fragment);
        }
    }
    Ok(cells)
}

/// The text that a matrix was read from, for messages.
struct Source {
    name: String,
    text: String,
}

impl Source {
    /// `file:line` of the first line that has a value; YAML gives no places of values.
    fn place(&self, value: &str) -> String {
        let line = self.text.lines().position(|line| line.split('#').next().unwrap_or("").contains(value));
        match line {
            Some(index) => format!("{}:{}", self.name, index + 1),
            None => self.name.clone(),
        }
    }
}

fn cells(spec: &MatrixSpec, source: &Source, defaults: &Defaults) -> Result<Vec<MatrixCell>> {
    let archs = if spec.archs.is_empty() { vec![defaults.arch] } else { spec.archs.clone() };
    let suites = if spec.suites.is_empty() { vec![defaults.suite.clone()] } else { spec.suites.clone() };
    let mut cells = Vec::new();
    for kernel in &spec.kernels {
        for &arch in &archs {
            for suite in &suites {
                let (kernel, suite, settings) = (kernel.clone(), suite.clone(), spec.settings.clone());
                let place = source.place(&kernel);
                cells.push(MatrixCell { kernel, arch, suite, settings, place: Some(place) });
            }
        }
    }
    for exclude in &spec.exclude {
        let kernel = matcher(exclude.kernel.as_deref(), source)?;
        let before = cells.len();
        cells.retain(|c| !matches(c, &kernel, exclude.arch, exclude.suite.as_deref()));
        if cells.len() == before {
            return Err(nothing("exclude", exclude.kernel.as_deref(), source));
        }
    }
    for include in &spec.include {
        add(include, &mut cells, spec, source, defaults)?;
    }
    if cells.is_empty() {
        return Err(Error::caller(format!("{}: the matrix has no cell", source.name)));
    }
    twice(&cells)?;
    Ok(cells)
}

fn add(
    include: &Include,
    cells: &mut Vec<MatrixCell>,
    spec: &MatrixSpec,
    source: &Source,
    defaults: &Defaults,
) -> Result<()> {
    let kernel = matcher(include.kernel.as_deref(), source)?;
    let mut found = false;
    for cell in cells.iter_mut().filter(|c| matches(c, &kernel, include.arch, include.suite.as_deref())) {
        cell.settings = include.settings.clone().or(&cell.settings);
        found = true;
    }
    let Some(name) = include.kernel.clone().filter(|name| !found && !is_glob(name)) else {
        return if found { Ok(()) } else { Err(nothing("include", include.kernel.as_deref(), source)) };
    };
    cells.push(MatrixCell {
        place: Some(source.place(&name)),
        kernel: name,
        arch: include.arch.unwrap_or(defaults.arch),
        suite: include.suite.clone().unwrap_or_else(|| defaults.suite.clone()),
        settings: include.settings.clone().or(&spec.settings),
    });
    Ok(())
}

fn is_glob(text: &str) -> bool {
    text.contains(['*', '?', '[', '{'])
}

fn matcher(glob: Option<&str>, source: &Source) -> Result<Option<globset::GlobMatcher>> {
    glob.map(|glob| {
        GlobBuilder::new(glob)
            .build()
            .map(|glob| glob.compile_matcher())
            .map_err(|e| Error::caller(format!("{}: '{glob}' is no glob: {}", source.place(glob), e.kind())))
    })
    .transpose()
}

fn matches(
    cell: &MatrixCell,
    kernel: &Option<globset::GlobMatcher>,
    arch: Option<Arch>,
    suite: Option<&str>,
) -> bool {
    kernel.as_ref().is_none_or(|glob| glob.is_match(&cell.kernel))
        && arch.is_none_or(|arch| arch == cell.arch)
        && suite.is_none_or(|suite| suite == cell.suite)
}

/// An entry without effect is a typing error more often than not.
fn nothing(what: &str, kernel: Option<&str>, source: &Source) -> Error {
    match kernel {
        Some(kernel) => Error::caller(format!("{}: {what} '{kernel}' matches no cell", source.place(kernel))),
        None => Error::caller(format!("{}: an entry of {what} matches no cell", source.name)),
    }
}

fn twice(cells: &[MatrixCell]) -> Result<()> {
    for (index, cell) in cells.iter().enumerate() {
        let same = |c: &MatrixCell| (&c.kernel, c.arch, &c.suite) == (&cell.kernel, cell.arch, &cell.suite);
        if cells[..index].iter().any(same) {
            let name = format!("{} {} {}", cell.kernel, cell.arch, cell.suite);
            return Err(Error::caller(format!(
                "{}: {name} is there twice",
                cell.place.as_deref().unwrap_or("")
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn read(text: &str) -> Result<Vec<MatrixCell>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.yaml");
        fs::write(&path, text).unwrap();
        load(&path, &Defaults { arch: Arch::X86_64, suite: "dynptr".into() })
    }

    fn shown(cells: &[MatrixCell]) -> Vec<String> {
        cells.iter().map(|c| format!("{} {} {}", c.kernel, c.arch, c.suite)).collect()
    }

    const FULL: &str = "kernels: ['6.1', debian:6.12, debian:7.2]
archs: [x86_64, arm64]
settings: {memory: 512M}
exclude:
  - {kernel: '6.1', arch: arm64}
include:
  - {kernel: 'debian:*', arch: arm64, settings: {memory: 1G}}
  - {kernel: debian:6.19, settings: {share: initramfs}}
";

    #[test]
    fn the_product_less_what_is_excluded_and_with_what_is_included() {
        let cells = read(FULL).unwrap();
        assert_eq!(
            shown(&cells),
            [
                "6.1 x86_64 dynptr",
                "debian:6.12 x86_64 dynptr",
                "debian:6.12 arm64 dynptr",
                "debian:7.2 x86_64 dynptr",
                "debian:7.2 arm64 dynptr",
                "debian:6.19 x86_64 dynptr",
            ]
        );
        let memory: Vec<Option<u32>> = cells.iter().map(|c| c.settings.memory).collect();
        assert_eq!(memory, [512, 512, 1024, 512, 1024, 512].map(Some));
        assert_eq!(cells[5].settings.share, Some(ShareWay::Initramfs));
        assert!(cells[5].place.as_ref().unwrap().ends_with("m.yaml:8"), "{:?}", cells[5].place);
    }

    #[test]
    fn fragments_are_found_from_the_file() {
        let cells = read(
            "kernels: ['tree:/l', 'debian:7.2']
include:
  - {kernel: 'tree:*', settings: {config: [debug, ./my.config, 'tree:kernel/configs/x.config', /a/b.config]}}
",
        )
        .unwrap();
        let shown: Vec<String> = cells[0].settings.config.iter().map(|p| p.display().to_string()).collect();
        assert_eq!(shown[0], "debug");
        assert!(shown[1].starts_with('/') && shown[1].ends_with("/./my.config"), "{shown:?}");
        assert_eq!(shown[2..], ["tree:kernel/configs/x.config", "/a/b.config"]);
        assert!(cells[1].settings.config.is_empty());
    }

    #[test]
    fn suites_are_found_from_the_file() {
        let text = "kernels: ['7.2']
suites: [dynptr, ./mine.yaml, other.yaml, /a/suite.yaml]
exclude:
  - {suite: other.yaml}
include:
  - {kernel: '6.1', suite: ../folder/}
";
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("m.yaml"), text).unwrap();
        let defaults = Defaults { arch: Arch::X86_64, suite: "dynptr".into() };
        let cells = load(&dir.path().join("m.yaml"), &defaults).unwrap();
        let found: Vec<&str> = cells.iter().map(|cell| cell.suite.as_str()).collect();
        let there = |name: &str| dir.path().join(name).display().to_string();
        assert_eq!(found, ["dynptr", &there("./mine.yaml"), "/a/suite.yaml", &there("../folder/")]);
    }

    #[test]
    fn mistakes_name_the_file_the_line_and_the_value() {
        for (from, to, expected) in [
            ("archs: [x86_64", "archs: [x86-64", "line 2"),
            ("memory: 512M", "memory: 512", "'512' is no amount"),
            (
                "exclude:\n  - {kernel: '6.1'",
                "exclude:\n  - {kernel: '6.2'",
                "m.yaml:5: exclude '6.2' matches no",
            ),
            ("debian:*", "fedora:*", "m.yaml:7: include 'fedora:*' matches no cell"),
            ("debian:*", "debian:[", "m.yaml:7: 'debian:[' is no glob"),
            ("kernels:", "kernel:", "unknown field `kernel`"),
            ("debian:6.12, debian:7.2", "debian:7.2, debian:7.2", "debian:7.2 x86_64 dynptr is there twice"),
            ("share: initramfs", "share: nfs", "unknown variant `nfs`"),
        ] {
            assert!(FULL.contains(from), "{from}");
            let e = read(&FULL.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(e.contains(expected) && e.contains("m.yaml"), "{to}: {e}");
        }
        assert!(read("title: x").unwrap_err().to_string().contains("has no cell"));
    }
}
