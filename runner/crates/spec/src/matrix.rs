//! `configs/matrix/*.yaml`: which kernels, architectures and suites make a matrix.

use std::path::{Path, PathBuf};
use std::time::Duration;

use globset::GlobBuilder;
use serde::Deserialize;

use crate::yaml_location::{
    self,
    Step::{self, Index, Key},
};
use crate::{suite, units};
use kvet_base::arch::Arch;
use kvet_base::error::{Error, Result};

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
    #[serde(default, deserialize_with = "units::de_cpus")]
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
    /// Over 9p where the kernel has it.
    Auto,
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
    /// Where all that stands. None where no file names it.
    pub places: Option<Places>,
}

/// Where the parts of a cell stand in the file of its matrix, each as `configs/matrix/dynptr.yaml:7`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// The kernel.
    pub kernel: String,
    /// The suite; that of the kernel where it is the default.
    pub suite: String,
    /// Each of the config fragments.
    pub config: Vec<String>,
    /// The amount of memory, where it is set.
    pub memory: Option<String>,
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
    /// `file:line` of a value.
    fn place(&self, path: &[Step]) -> String {
        match yaml_location::line(&self.text, path) {
            Some(line) => format!("{}:{line}", self.name),
            None => self.name.clone(),
        }
    }

    /// `file:line` of a value of a list of the file: `exclude`, the third, its kernel.
    fn in_entry(&self, list: &str, index: usize, key: &str) -> String {
        self.place(&[Key(list), Index(index), Key(key)])
    }

    /// Settings that stand here go before those of the cell, and so do their places.
    fn set(&self, settings: &CellSettings, at: &[Step], cell: &mut MatrixCell) {
        let below = |more: &[Step]| self.place(&[at, more].concat());
        if let Some(places) = &mut cell.places {
            if settings.memory.is_some() {
                places.memory = Some(below(&[Key("memory")]));
            }
            if !settings.config.is_empty() {
                let fragments = 0..settings.config.len();
                places.config = fragments.map(|index| below(&[Key("config"), Index(index)])).collect();
            }
        }
        cell.settings = settings.clone().or(&cell.settings);
    }
}

fn cells(spec: &MatrixSpec, source: &Source, defaults: &Defaults) -> Result<Vec<MatrixCell>> {
    let mut cells = product(spec, source, defaults);
    for (index, exclude) in spec.exclude.iter().enumerate() {
        let kernel = matcher(exclude.kernel.as_deref(), "exclude", index, source)?;
        let fits = |c: &MatrixCell| matches(c, &kernel, exclude.arch, exclude.suite.as_deref());
        if !cells.iter().any(fits) {
            return Err(nothing("exclude", index, exclude, &cells, &kernel, source));
        }
        cells.retain(|c| !fits(c));
    }
    for (index, include) in spec.include.iter().enumerate() {
        if spec.include[..index].contains(include) {
            let place = source.place(&[Key("include"), Index(index)]);
            return Err(Error::caller(format!("{place}: this entry of include is there twice")));
        }
        add(index, include, &mut cells, spec, source, defaults)?;
    }
    if cells.is_empty() {
        let (list, why) = match spec.exclude.len() {
            0 => ("kernels", "nothing stands under 'kernels' and 'include'"),
            _ => ("exclude", "all are excluded"),
        };
        let place = source.place(&[Key(list)]);
        return Err(Error::caller(format!("{place}: the matrix has no cell: {why}"))
            .hint("kernels: [debian:7.2] would be one"));
    }
    twice(&cells)?;
    Ok(cells)
}

/// Every kernel with every architecture and suite.
fn product(spec: &MatrixSpec, source: &Source, defaults: &Defaults) -> Vec<MatrixCell> {
    let archs = if spec.archs.is_empty() { vec![defaults.arch] } else { spec.archs.clone() };
    let suites: Vec<(&String, Option<String>)> = match &spec.suites[..] {
        [] => vec![(&defaults.suite, None)],
        named => {
            let places = (0..).map(|index| Some(source.place(&[Key("suites"), Index(index)])));
            named.iter().zip(places).collect()
        }
    };
    let mut cells = Vec::new();
    for (index, kernel) in spec.kernels.iter().enumerate() {
        let place = source.place(&[Key("kernels"), Index(index)]);
        for &arch in &archs {
            for (suite, of_suite) in &suites {
                let mut cell = blank(kernel, arch, suite, &place, of_suite.as_deref());
                source.set(&spec.settings, &[Key("settings")], &mut cell);
                cells.push(cell);
            }
        }
    }
    cells
}

fn blank(kernel: &str, arch: Arch, suite: &str, place: &str, of_suite: Option<&str>) -> MatrixCell {
    let places = Places {
        kernel: place.to_owned(),
        suite: of_suite.unwrap_or(place).to_owned(),
        config: Vec::new(),
        memory: None,
    };
    let (kernel, suite, settings) = (kernel.to_owned(), suite.to_owned(), CellSettings::default());
    MatrixCell { kernel, arch, suite, settings, places: Some(places) }
}

fn add(
    index: usize,
    include: &Include,
    cells: &mut Vec<MatrixCell>,
    spec: &MatrixSpec,
    source: &Source,
    defaults: &Defaults,
) -> Result<()> {
    let kernel = matcher(include.kernel.as_deref(), "include", index, source)?;
    let settings = [Key("include"), Index(index), Key("settings")];
    let mut found = false;
    for cell in cells.iter_mut().filter(|c| matches(c, &kernel, include.arch, include.suite.as_deref())) {
        source.set(&include.settings, &settings, cell);
        found = true;
    }
    if found {
        return Ok(());
    }
    let Some(name) = include.kernel.as_deref().filter(|name| !is_glob(name)) else {
        let Include { kernel: glob, arch, suite, .. } = include.clone();
        let selector = Selector { kernel: glob, arch, suite };
        return Err(nothing("include", index, &selector, cells, &kernel, source));
    };
    let place = source.in_entry("include", index, "kernel");
    let of_suite = include.suite.is_some().then(|| source.in_entry("include", index, "suite"));
    let (arch, suite) =
        (include.arch.unwrap_or(defaults.arch), include.suite.as_ref().unwrap_or(&defaults.suite));
    let mut cell = blank(name, arch, suite, &place, of_suite.as_deref());
    source.set(&spec.settings, &[Key("settings")], &mut cell);
    source.set(&include.settings, &settings, &mut cell);
    cells.push(cell);
    Ok(())
}

fn is_glob(text: &str) -> bool {
    text.contains(['*', '?', '[', '{'])
}

fn matcher(
    glob: Option<&str>,
    list: &str,
    index: usize,
    source: &Source,
) -> Result<Option<globset::GlobMatcher>> {
    glob.map(|glob| {
        GlobBuilder::new(glob).build().map(|glob| glob.compile_matcher()).map_err(|e| {
            let place = source.in_entry(list, index, "kernel");
            Error::caller(format!("{place}: '{glob}' is no glob: {}", e.kind()))
        })
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

/// An entry without effect is a typing error more often than not. Names the part of it that no cell has.
fn nothing(
    list: &str,
    index: usize,
    entry: &Selector,
    cells: &[MatrixCell],
    kernel: &Option<globset::GlobMatcher>,
    source: &Source,
) -> Error {
    let wrong = |key: &str, value: &str| {
        let place = source.in_entry(list, index, key);
        Error::caller(format!("{place}: {list} '{value}' matches no cell"))
    };
    let known = |of: &dyn Fn(&MatrixCell) -> String| {
        let names: std::collections::BTreeSet<String> = cells.iter().map(of).collect();
        format!("there are {}", names.into_iter().collect::<Vec<_>>().join(", "))
    };
    if let Some(name) = &entry.kernel
        && !cells.iter().any(|c| matches(c, kernel, None, None))
    {
        return wrong("kernel", name).hint(known(&|c| c.kernel.clone()));
    }
    if let Some(name) = &entry.suite
        && !cells.iter().any(|c| c.suite == *name)
    {
        return wrong("suite", name).hint(known(&|c| c.suite.clone()));
    }
    if let Some(arch) = entry.arch
        && !cells.iter().any(|c| c.arch == arch)
    {
        return wrong("arch", arch.name()).hint(known(&|c| c.arch.to_string()));
    }
    let place = source.place(&[Key(list), Index(index)]);
    Error::caller(format!("{place}: this entry of {list} matches no cell: none has all that it says"))
}

fn twice(cells: &[MatrixCell]) -> Result<()> {
    for (index, cell) in cells.iter().enumerate() {
        let same = |c: &MatrixCell| (&c.kernel, c.arch, &c.suite) == (&cell.kernel, cell.arch, &cell.suite);
        let Some(first) = cells[..index].iter().find(|c| same(c)) else { continue };
        let (Some(second), Some(first)) = (&cell.places, &first.places) else { continue };
        // The part that is said twice.
        let place = if second.kernel == first.kernel { &second.suite } else { &second.kernel };
        let name = format!("{} {} {}", cell.kernel, cell.arch, cell.suite);
        return Err(Error::caller(format!("{place}: {name} is there twice")));
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
        assert!(cells[5].places.as_ref().unwrap().kernel.ends_with("m.yaml:8"), "{:?}", cells[5].places);
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
            (
                "  - {kernel: debian:6.19",
                "  - {kernel: debian:6.19}\n  - {kernel: debian:6.19}\n  - {kernel: debian:6.19",
                "m.yaml:9: this entry of include is there twice",
            ),
        ] {
            assert!(FULL.contains(from), "{from}");
            let e = read(&FULL.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(e.contains(expected) && e.contains("m.yaml"), "{to}: {e}");
        }
        for (text, expected) in [
            ("title: x", "m.yaml: the matrix has no cell: nothing stands under"),
            ("kernels: ['6.1']\nexclude:\n  - {kernel: '*'}", "m.yaml:3: the matrix has no cell: all are"),
        ] {
            let e = read(text).unwrap_err().to_string();
            assert!(e.contains(expected), "{e}");
        }
    }

    #[test]
    fn the_line_is_that_of_the_value_and_not_of_one_like_it() {
        const KERNELS: &str = "# 7.2 and dynptr\nkernels:\n  - debian:6.12\n  - debian:7.2\n";
        for (more, expected) in [
            ("exclude:\n  - {kernel: debian:6.1}\n", "m.yaml:6: exclude 'debian:6.1' matches no cell"),
            (
                "exclude:\n  - kernel: debian:7.2\n    suite: nosuch\n",
                "m.yaml:7: exclude 'nosuch' matches no",
            ),
            ("exclude:\n  - {arch: arm64}\n", "m.yaml:6: exclude 'arm64' matches no cell"),
            (
                "archs: [x86_64, arm64]\ninclude:\n  - {kernel: '6.1', arch: x86_64}\nexclude:\n  \
                 - {kernel: 'debian:6*', arch: arm64}\n  - {kernel: debian:6.12, arch: arm64}\n",
                "m.yaml:10: this entry of exclude matches no cell: none has all",
            ),
            ("  - debian:7.2\n", "m.yaml:5: debian:7.2 x86_64 dynptr is there twice"),
            ("suites:\n  - a\n  - a\n", "m.yaml:7: debian:6.12 x86_64 a is there twice"),
            ("settings:\n  cpus: 1\n  memory: lots\n", "settings.memory: 'lots' is no amount"),
            ("settings:\n  cpus: 1\n  memory: lots\n", "at line 7 column 11"),
            ("settings:\n  cpus: 0\n", "settings.cpus: 0 CPUs are no guest's: 1 to 64 at line 6"),
            (
                "include:\n  - kernel: debian:7.2\n    settings:\n      cpus: 2\n      timeout: soon\n",
                "include[0].settings.timeout: 'soon' is no duration; write 90s, 10m or 1h30m at line 9",
            ),
            ("kernels: [debian:7.3]\n", "'kernels' is there twice at line 5"),
        ] {
            let e = read(&format!("{KERNELS}{more}")).unwrap_err().to_string();
            assert!(e.contains(expected), "{more}: {e}");
        }
        let text = format!(
            "{KERNELS}suites:\n  - a\n  - b\nsettings:\n  memory: 1G\n  config:\n    - debug\n\
             include:\n  - kernel: debian:7.2\n    suite: c\n    settings:\n      memory: 2G\n"
        );
        let cells = read(&text).unwrap();
        let places = |cell: &MatrixCell| {
            let Places { kernel, suite, config, memory } = cell.places.clone().unwrap();
            let line = |place: &String| place.rsplit_once(':').unwrap().1.parse::<usize>().unwrap();
            (line(&kernel), line(&suite), line(&config[0]), memory.as_ref().map(line).unwrap())
        };
        assert_eq!(places(&cells[1]), (3, 7, 11, 9));
        assert_eq!(places(&cells[4]), (13, 14, 11, 16));
    }
}
