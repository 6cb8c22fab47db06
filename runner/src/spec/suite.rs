//! `suite.yaml`: what a suite is, how it is run and what it needs.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::arch::Arch;
use crate::error::{Error, IoContext, Result};
use crate::spec::allowed::AllowedSplat;
use crate::spec::home::Home;
use crate::spec::units;

/// The environment variable that tells a program how the kernel was built: a line `CONFIG_X=y` for each option that
/// [`SuiteSpec::tell`] names, `n` where it is not set. It is not there where the kernel's config is not known.
pub const TOLD_OPTIONS: &str = "KVET_KCONFIG";
/// The one that tells which of the modules that [`SuiteSpec::tell`] names the guest can load, with spaces between them.
pub const TOLD_MODULES: &str = "KVET_MODULES";

/// The file's name in a suite's folder.
pub const MANIFEST: &str = "suite.yaml";

/// A suite as its manifest says it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SuiteSpec {
    /// Its name; letters, digits, `-` and `_`.
    pub name: String,
    /// One line for people.
    pub title: String,
    /// What has to be built before the suite can be run; none: nothing.
    #[serde(default)]
    pub build: Option<Build>,
    /// The program: a path relative to the manifest; of a suite that is built, relative to what the build gives. `{arch}` is replaced by the guest's architecture, and a path
    /// that begins with `{guest}/` is below the folder of the guest programs that kvet builds.
    pub program: String,
    /// Its arguments.
    #[serde(default)]
    pub args: Vec<String>,
    /// How its output is read.
    pub format: Format,
    /// The folder that is shared with the guest, relative to the manifest; by default the program's.
    #[serde(default)]
    pub share: Option<String>,
    /// A file that names the suite's tests, one a line, with the same placeholders as `program`. With it, `-t` can be
    /// checked before anything boots, and tests that a crash kept from running are named in the report.
    #[serde(default)]
    pub tests: Option<String>,
    /// The argument that selects one test, given once for each: `--test`. Without it, `-t` selects among the results.
    #[serde(default)]
    pub select: Option<String>,
    /// The argument with which what could not be tested fails instead of being skipped, for `kvet run --strict`.
    #[serde(default)]
    pub strict: Option<String>,
    /// The argument with which the tests run in an order that a number decides, which is given behind it: for
    /// `kvet run --shuffle SEED`.
    #[serde(default)]
    pub shuffle: Option<String>,
    /// The argument with which the verifier's log of each test is kept, in `$KVET_RESULTS/verifier/GROUP.TEST.log`: for
    /// `kvet bisect`, which compares them.
    #[serde(default)]
    pub logs: Option<String>,
    /// A file that says which tests cannot pass on which kernels, and why; relative to the manifest.
    #[serde(default)]
    pub expectations: Option<String>,
    /// Complaints of the kernel that its tests provoke on purpose.
    #[serde(default)]
    pub allowed_splats: Vec<AllowedSplat>,
    /// Environment variables.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Modules to load first.
    #[serde(default)]
    pub modules: Vec<String>,
    /// Modules that tests will have the kernel load. The initramfs has them decompressed: for the guest to do that takes longer
    /// than to load them. One that the kernel does not have is left out.
    #[serde(default)]
    pub may_load: Vec<String>,
    /// Options the kernel must have: `CONFIG_X: y`, or `m` for "built in or as a module".
    #[serde(default)]
    pub kconfig: BTreeMap<String, Need>,
    /// Options whose values the program is told, each with the modules that it may be (any of them will do). They are in
    /// [`TOLD_OPTIONS`] of the environment, and in [`TOLD_MODULES`] those modules that the guest can load.
    #[serde(default)]
    pub tell: BTreeMap<String, Vec<String>>,
    /// How long one test may take.
    #[serde(default, deserialize_with = "units::de_duration")]
    pub timeout: Option<Duration>,
    /// How long the whole suite may take, boot included.
    #[serde(default, deserialize_with = "units::de_duration")]
    pub deadline: Option<Duration>,
    /// The guest's memory.
    #[serde(default, deserialize_with = "units::de_mebibytes")]
    pub memory: Option<u32>,
    /// The guest's CPUs.
    #[serde(default, deserialize_with = "units::de_cpus")]
    pub cpus: Option<u32>,
    /// What the program has as its root.
    #[serde(default)]
    pub root: Root,
}

/// What a job has as its root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Root {
    /// The initramfs: static programs only.
    #[default]
    None,
    /// kvet's userland: a small Debian with bash, iproute2 and the C library (images/userland.yaml).
    Userland,
    /// This machine's /, read-only; for guests of its architecture.
    Host,
}

/// How a suite is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Build {
    /// From the source of the kernel under test: its own BPF selftests (`selftests/upstream/slices.yaml`).
    Upstream,
}

/// How a suite's output is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// The kernel's test protocol (Documentation/dev-tools/ktap.rst).
    Ktap,
    /// One test; its exit status is the verdict (4 means skipped, as in the kernel's selftests).
    Exit,
    /// The BPF selftests' own runner, test_progs. kvet gives it its arguments: selection, `-v`, and a watchdog where it
    /// has one.
    TestProgs,
}

impl Format {
    /// Its name in a manifest.
    pub fn name(self) -> &'static str {
        match self {
            Format::Ktap => "ktap",
            Format::Exit => "exit",
            Format::TestProgs => "test_progs",
        }
    }
}

/// What a suite wants of a kconfig option.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Need {
    /// Built in.
    #[serde(rename = "y")]
    BuiltIn,
    /// Built in or as a module.
    #[serde(rename = "m")]
    Module,
}

/// A suite that is ready to be run on an architecture: every path is absolute and exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suite {
    /// What the manifest says.
    pub spec: SuiteSpec,
    /// The folder that the guest sees at [`kvet_wire::paths::TESTS`]; empty until a suite is built.
    pub share: PathBuf,
    /// The program, relative to `share`.
    pub program: PathBuf,
    /// The names of its tests, where it lists them.
    pub tests: Option<Vec<String>>,
    /// The file with its expectations.
    pub expectations: Option<PathBuf>,
    /// Whether the program is a shell script, which the guest needs a shell for.
    pub script: bool,
    /// What the program is, where it is a symbolic link that the guest could not follow.
    pub stand_in: Option<PathBuf>,
}

/// A program as it was named: links in the way to its folder are followed, its own name is kept. A program may have several names
/// and ask by which it was called, and find what it needs beside that one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Its folder, absolute, without links.
    pub folder: PathBuf,
    /// Its name there.
    pub name: PathBuf,
    /// The file, where the name is a link that leads anywhere but to another name in the folder.
    pub stand_in: Option<PathBuf>,
}

impl Named {
    /// Looks at a program.
    ///
    /// # Errors
    /// It is not there, or a link on the way leads nowhere.
    pub fn find(path: &Path) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        let file = path.canonicalize()?;
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::IsADirectory.into());
        };
        let (folder, name) = (folder.canonicalize()?, PathBuf::from(name));
        let mut hop = name.clone();
        // The path resolves, so that its links come to an end.
        while folder.join(&hop).is_symlink() {
            hop = fs::read_link(folder.join(&hop))?;
            if hop.components().ne(hop.file_name().map(Component::Normal)) {
                return Ok(Self { folder, name, stand_in: Some(file) });
            }
        }
        Ok(Self { folder, name, stand_in: None })
    }
}

impl SuiteSpec {
    /// Reads a manifest.
    ///
    /// # Errors
    /// The caller's: the file is not there or not what it should be.
    pub fn load(path: &Path) -> Result<Self> {
        let spec: SuiteSpec = super::load(path)?;
        let wrong = |what: String| Err(Error::caller(format!("{}: {what}", path.display())));
        if !is_name(&spec.name) {
            return wrong(format!("name '{}' may have letters, digits, '-' and '_' only", spec.name));
        }
        let mut modules = spec.modules.iter().chain(&spec.may_load).chain(spec.tell.values().flatten());
        if let Some(bad) = modules.find(|m| !is_name(m)) {
            return wrong(format!("'{bad}' is no name of a module"));
        }
        if let Some(bad) = spec.kconfig.keys().chain(spec.tell.keys()).find(|k| !is_option(k)) {
            return wrong(format!("kconfig option '{bad}' should be CONFIG_ and letters, digits and '_'"));
        }
        for entry in &spec.allowed_splats {
            entry.compile(&path.display().to_string())?;
        }
        if spec.build.is_some()
            && (spec.share.is_some() || spec.tests.is_some() || spec.program.contains(['{', '/']))
        {
            return wrong(
                "a suite that is built has no `share` and no `tests`, and `program` is a plain name".into(),
            );
        }
        if spec.format == Format::Exit && (spec.select.is_some() || spec.tests.is_some()) {
            return wrong("format 'exit' is one test: `select` and `tests` make no sense with it".into());
        }
        if spec.format == Format::Exit && spec.shuffle.is_some() {
            return wrong("format 'exit' is one test: `shuffle` makes no sense with it".into());
        }
        let arguments = [&spec.select, &spec.strict, &spec.shuffle, &spec.logs];
        if spec.format == Format::TestProgs && arguments.into_iter().any(Option::is_some) {
            return wrong(
                "kvet knows the arguments of test_progs: `select`, `strict`, `shuffle` and `logs` make no sense"
                    .into(),
            );
        }
        Ok(spec)
    }

    /// Finds everything a guest of `arch` needs. `manifest` is where the specification was read.
    ///
    /// # Errors
    /// The caller's: a path leads nowhere or out of the shared folder.
    pub fn resolve(self, manifest: &Path, home: &Home, arch: Arch) -> Result<Suite> {
        let base = manifest.parent().unwrap_or(Path::new("."));
        let expand = |text: &str| -> PathBuf {
            let text = text.replace("{arch}", arch.name());
            match text.strip_prefix("{guest}/") {
                Some(rest) => home.guest(arch).join(rest),
                None => base.join(text),
            }
        };
        let not_found = |what: &str, text: &str, e: io::Error| {
            let path = expand(text);
            let error =
                Error::caller(format!("{}: {what} {}", manifest.display(), path.display())).because(e);
            if text.starts_with("{guest}/") { error.hint("`make build` makes it") } else { error }
        };
        let find = |what: &str, text: &str| -> Result<PathBuf> {
            expand(text).canonicalize().map_err(|e| not_found(what, text, e))
        };
        let expectations = self.expectations.as_deref().map(|file| find("expectations", file)).transpose()?;
        if self.build.is_some() {
            let program = PathBuf::from(&self.program);
            let share = PathBuf::new();
            return Ok(Suite {
                spec: self,
                share,
                program,
                tests: None,
                expectations,
                script: false,
                stand_in: None,
            });
        }
        let what = "program";
        let Named { folder, name, stand_in } =
            Named::find(&expand(&self.program)).map_err(|e| not_found(what, &self.program, e))?;
        let program = folder.join(name);
        let share = match &self.share {
            Some(dir) => find("share", dir)?,
            None => folder,
        };
        let inside = program.strip_prefix(&share).map_err(|_| {
            Error::caller(format!(
                "{}: program {} is not inside the shared folder {}",
                manifest.display(),
                program.display(),
                share.display()
            ))
        })?;
        let program = inside.to_owned();
        let tests = self.tests.as_deref().map(|file| read_names(&find("tests", file)?)).transpose()?;
        Ok(Suite { spec: self, share, program, tests, expectations, script: false, stand_in })
    }
}

/// The suites that come with kvet, by name, with the path of their manifests.
///
/// # Errors
/// The host's: the folder cannot be read. The caller's: a manifest is wrong.
pub fn shipped(home: &Home) -> Result<BTreeMap<String, (PathBuf, SuiteSpec)>> {
    let dir = home.selftests();
    let mut suites = BTreeMap::new();
    for entry in fs::read_dir(&dir).host(format!("list {}", dir.display()))? {
        let manifest = entry.host(format!("list {}", dir.display()))?.path().join(MANIFEST);
        if manifest.is_file() {
            let spec = SuiteSpec::load(&manifest)?;
            suites.insert(spec.name.clone(), (manifest, spec));
        }
    }
    Ok(suites)
}

/// Is a suite named by a path?
pub fn is_path(name_or_path: &str) -> bool {
    name_or_path.contains('/') || name_or_path.ends_with(".yaml")
}

/// A suite by name, or by the path of its manifest or of the folder that holds it.
///
/// # Errors
/// The caller's: there is none; the known names are listed.
pub fn find(home: &Home, name_or_path: &str) -> Result<(PathBuf, SuiteSpec)> {
    if is_path(name_or_path) {
        let path = Path::new(name_or_path);
        let manifest = if path.is_dir() { path.join(MANIFEST) } else { path.to_owned() };
        let manifest = std::path::absolute(&manifest).given(format!("find {}", manifest.display()))?;
        let spec = SuiteSpec::load(&manifest)?;
        return Ok((manifest, spec));
    }
    let mut suites = shipped(home)?;
    let known = suites.keys().cloned().collect::<Vec<_>>().join(", ");
    suites.remove(name_or_path).ok_or_else(|| {
        Error::caller(format!("unknown suite '{name_or_path}'; known: {known}"))
            .hint("a suite of your own is named by the path of its suite.yaml")
    })
}

fn read_names(path: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(path).given(format!("read {}", path.display()))?;
    let mut lines = BTreeMap::new();
    let mut names = Vec::new();
    for (index, name) in text.lines().map(str::trim).enumerate().filter(|(_, name)| !name.is_empty()) {
        if let Some(first) = lines.insert(name, index + 1) {
            let place = format!("{}:{}", path.display(), index + 1);
            return Err(Error::caller(format!("{place}: '{name}' is listed in line {first} already"))
                .hint("the second test of a name is called NAME#2"));
        }
        names.push(name.to_owned());
    }
    if names.is_empty() {
        return Err(Error::caller(format!("{} names no test", path.display())));
    }
    Ok(names)
}

fn is_option(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.strip_prefix("CONFIG_").is_some_and(|rest| is_name(rest) && rest.chars().all(plain))
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 64
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "name: mine\ntitle: My tests\nprogram: bin/{arch}/t\nformat: ktap\nmodules: [tun]\n\
                        kconfig: {CONFIG_TUN: m}\ntimeout: 5s\nmemory: 256M\n";

    fn home() -> (tempfile::TempDir, Home) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("configs")).unwrap();
        fs::write(dir.path().join("configs/kernels.yaml"), "").unwrap();
        fs::create_dir_all(dir.path().join("selftests/mine/bin/arm64")).unwrap();
        fs::write(dir.path().join("selftests/mine/bin/arm64/t"), "").unwrap();
        fs::write(dir.path().join("selftests/mine/suite.yaml"), GOOD).unwrap();
        let home = Home::find(Some(dir.path().into()), Path::new("/x")).unwrap();
        (dir, home)
    }

    #[test]
    fn found_by_name_and_by_path_and_resolved_per_architecture() {
        let (dir, home) = home();
        let (manifest, spec) = find(&home, "mine").unwrap();
        assert_eq!(find(&home, dir.path().join("selftests/mine").to_str().unwrap()).unwrap().1, spec);
        let suite = spec.clone().resolve(&manifest, &home, Arch::Arm64).unwrap();
        assert_eq!(suite.program, Path::new("t"));
        assert!(suite.share.ends_with("selftests/mine/bin/arm64"));
        let e = spec.resolve(&manifest, &home, Arch::X86_64).unwrap_err().to_string();
        assert!(e.contains("bin/x86_64/t"), "{e}");
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let (_dir, home) = home();
        let e = find(&home, "dynprt").unwrap_err();
        assert!(e.to_string().contains("'dynprt'") && e.to_string().contains("known: mine"), "{e}");
    }

    #[test]
    fn wrong_manifests_name_the_place() {
        let (dir, _home) = home();
        let path = dir.path().join("suite.yaml");
        for (from, to, expected) in [
            ("format: ktap", "format: tap", "unknown variant `tap`"),
            ("name: mine", "name: ../mine", "'../mine'"),
            ("timeout: 5s", "timeout: 5", "'5' is no duration"),
            ("title: My", "titel: My", "unknown field `titel`"),
            ("CONFIG_TUN", "TUN", "'TUN'"),
            ("timeout: 5s", "tell: {TUN: []}", "'TUN'"),
            ("timeout: 5s", "tell: {CONFIG_TUN=y: []}", "'CONFIG_TUN=y'"),
            ("timeout: 5s", "tell: {CONFIG_TUN: ['t n']}", "'t n'"),
            ("memory: 256M", "cpus: 0", "cpus"),
            ("[tun]", "['a b']", "'a b'"),
            ("format: ktap", "format: exit\nshuffle: --mix", "`shuffle` makes no sense"),
            ("format: ktap", "format: test_progs\nshuffle: --mix", "`shuffle` and `logs` make no sense"),
        ] {
            fs::write(&path, GOOD.replace(from, to)).unwrap();
            let e = SuiteSpec::load(&path).unwrap_err().to_string();
            assert!(e.contains(expected) && e.contains("suite.yaml"), "{to}: {e}");
        }
    }

    #[test]
    fn a_list_of_tests_has_each_once() {
        let dir = tempfile::tempdir().unwrap();
        let list = dir.path().join("list");
        fs::write(&list, "a\n\n  b \na#2\n").unwrap();
        assert_eq!(read_names(&list).unwrap(), ["a", "b", "a#2"]);
        fs::write(&list, "a\n\nb\n a\n").unwrap();
        let error = read_names(&list).unwrap_err();
        assert!(error.to_string().ends_with("list:4: 'a' is listed in line 1 already"), "{error}");
        assert_eq!(error.hint_text(), Some("the second test of a name is called NAME#2"));
    }

    #[test]
    fn a_program_keeps_the_name_of_its_link() {
        use std::os::unix::fs::symlink;
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let at = |name: &str| root.join(name);
        fs::create_dir_all(at("common")).unwrap();
        fs::create_dir_all(at("mine")).unwrap();
        fs::write(at("common/run.sh"), "").unwrap();
        fs::write(at("mine/multi"), "").unwrap();
        symlink("../common/run.sh", at("mine/run.sh")).unwrap();
        symlink("run.sh", at("mine/again")).unwrap();
        symlink("multi", at("mine/read")).unwrap();
        symlink("read", at("mine/check")).unwrap();
        symlink(at("mine/multi"), at("mine/absolute")).unwrap();
        symlink("mine", at("folder")).unwrap();
        let (multi, script) = (Some(at("mine/multi")), Some(at("common/run.sh")));
        for (path, name, stand_in) in [
            ("mine/multi", "multi", None),
            ("mine/read", "read", None),
            ("folder/check", "check", None),
            ("mine/absolute", "absolute", multi),
            ("mine/run.sh", "run.sh", script.clone()),
            ("mine/again", "again", script),
        ] {
            let named = Named::find(&at(path)).unwrap();
            assert_eq!(named, Named { folder: at("mine"), name: name.into(), stand_in }, "{path}");
        }
        symlink("nowhere", at("mine/dangling")).unwrap();
        assert_eq!(Named::find(&at("mine/dangling")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_program_outside_the_share_is_refused() {
        let (_dir, home) = home();
        let (manifest, mut spec) = find(&home, "mine").unwrap();
        spec.share = Some("../../configs".into());
        let e = spec.resolve(&manifest, &home, Arch::Arm64).unwrap_err().to_string();
        assert!(e.contains("not inside"), "{e}");
    }
}
