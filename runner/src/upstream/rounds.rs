//! Makes a selection, and where that is allowed once more without what does not compile.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::error::{Error, Fault, IoContext, Result};
use crate::kernel::{Progress, Shop};

use super::bpftool::Bpftool;
use super::make::{self, Made, Make};
use super::select::{SELFTESTS, Selection};
use super::{Build, PROGRAM, mark, place};

/// How often programs that do not compile are left out and the rest is tried again.
const ROUNDS: usize = 4;
/// In a workshop: a build began. If it is still there at the next one, that build was killed, and left who knows what.
const UNDER_WAY: &str = "under-way";
/// In a workshop: how many steps a build of everything took.
const STEPS: &str = "steps";

/// A build that succeeded.
#[derive(Debug)]
pub(super) struct Finished {
    /// How many steps make took.
    pub steps: u64,
    /// What did not compile and was left out.
    pub broken: BTreeSet<String>,
    /// What was built.
    pub selection: Selection,
}

impl Build<'_> {
    /// Builds, and where that is allowed leaves out what does not compile.
    pub(super) fn build(
        &self,
        shop: &Shop,
        mut selection: Selection,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Finished> {
        let under_way = shop.dir.join(UNDER_WAY);
        if under_way.exists() {
            shop.clear()?;
        }
        fs::write(&under_way, "").host(format!("write {}", under_way.display()))?;
        let outcome = self.rounds(shop, &mut selection, progress);
        // Make has removed what was half made, but where something was killed or could not be written.
        let is_sound = !matches!(&outcome, Err(error) if error.fault() == Fault::Host);
        if is_sound {
            fs::remove_file(&under_way).host(format!("remove {}", under_way.display()))?;
        }
        outcome.map(|(steps, mut broken)| {
            broken.extend(selection.lost.clone());
            Finished { steps, broken, selection }
        })
    }

    fn rounds(
        &self,
        shop: &Shop,
        selection: &mut Selection,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(u64, BTreeSet<String>)> {
        let (mut steps, mut broken) = (0, BTreeSet::new());
        for _ in 0..ROUNDS {
            let made = self.round(shop, selection, progress)?;
            steps += made.steps;
            if made.succeeded {
                let path = shop.dir.join(STEPS);
                let before = expected(&shop.dir);
                fs::write(&path, steps.max(before).to_string()).host(format!("write {}", path.display()))?;
                return Ok((steps, broken));
            }
            let found = self.request.slices.tolerant().then(|| culprits(&made.lines, selection));
            match found {
                Some(found) if !found.is_empty() => broken.extend(found),
                _ => return Err(self.does_not_build(&made)),
            }
            *selection = self.select(&broken)?;
        }
        Err(Error::kernel(format!(
            "even without {} programs that do not compile they do not build",
            broken.len()
        ))
        .hint(format!("make's log is {}", self.means.log.display())))
    }

    /// One call of make.
    fn round(&self, shop: &Shop, selection: &Selection, progress: &mut dyn FnMut(Progress)) -> Result<Made> {
        let cancel = self.means.cancel;
        let bpftool = Bpftool::ensure(
            &selection.files,
            selection.signs,
            &self.btf,
            &self.toolchain,
            self.means,
            progress,
        )?;
        place::sync(&shop.dir, &selection.files, cancel)?;
        place::place(&self.btf.path, &shop.dir.join("vmlinux.btf"))?;
        place::place(&bpftool.program, &shop.dir.join("bpftool"))?;
        let mut variables = self.variables(&shop.dir, selection);
        self.link_marks(&shop.dir, selection, &mut variables)?;
        let expected = match expected(&shop.dir) {
            // An object and a skeleton for each program, an object for each test, and libbpf and the helpers.
            0 => (2 * selection.programs.len() + selection.tests.len() + 90) as u64,
            known => known,
        };
        let make = Make {
            dir: &shop.dir.join("tree").join(SELFTESTS),
            target: PROGRAM,
            variables: &variables,
            keep_going: self.request.slices.tolerant(),
            what: &format!("building {} selftests of {}", selection.tests.len(), self.source.version),
            expected,
            log: self.means.log,
        };
        make.run(progress, cancel)
    }

    /// Has test_progs say which test begins.
    fn link_marks(
        &self,
        shop: &Path,
        selection: &Selection,
        variables: &mut BTreeMap<String, String>,
    ) -> Result<()> {
        let path = |test| format!("{SELFTESTS}/prog_tests/{test}.c");
        let tests: Vec<_> = selection.tests.iter().filter_map(|t| selection.files.get(&path(t))).collect();
        let archiver = format!("{}-ar", self.arch.triplet);
        let compiler = variables.get("CC").map_or("", String::as_str);
        let marks = mark::ensure(shop, &tests, compiler, &archiver)?;
        // Of all variables, this is the one that every release's test_progs is linked with.
        let libraries = variables.entry("LDLIBS".into()).or_default();
        *libraries = format!("{} {libraries}", marks.link);
        if marks.changed {
            // Make does not know of it.
            place::remove(&shop.join("tree").join(SELFTESTS).join(PROGRAM))?;
        }
        Ok(())
    }

    /// Variables for make: those of the manifest, and those that cut the Makefile's lists down.
    fn variables(&self, shop: &Path, selection: &Selection) -> BTreeMap<String, String> {
        let replace = [
            ("{sysroot}", self.sysroot.root.display().to_string()),
            ("{gap}", self.sysroot.gap().display().to_string()),
            ("{triplet}", self.arch.triplet.clone()),
            ("{clang}", self.toolchain.clang.clone()),
            ("{tests}", kvet_wire::paths::TESTS.to_owned()),
            ("{loader}", self.arch.loader.clone()),
            ("{arch}", self.kernel.arch.name().to_owned()),
        ];
        let fill =
            |text: &String| replace.iter().fold(text.clone(), |text, (from, to)| text.replace(from, to));
        let mut variables: BTreeMap<String, String> =
            self.request.manifest.make.iter().map(|(name, value)| (name.clone(), fill(value))).collect();
        variables.extend(selection.variables.clone());
        let bpftool = shop.join("bpftool").display().to_string();
        variables.insert("VMLINUX_BTF".into(), shop.join("vmlinux.btf").display().to_string());
        variables.insert("BPFTOOL".into(), bpftool.clone());
        if !selection.runs_bpftool {
            // Else one for the guest is built.
            variables.insert("TRUNNER_BPFTOOL".into(), bpftool);
        }
        variables
    }

    fn does_not_build(&self, made: &Made) -> Error {
        let error = make::first_error(&made.lines);
        let targets = make::failed_targets(&made.lines);
        let first = targets.first().map_or_else(String::new, |name| format!(" ({name})"));
        Error::kernel(format!("they do not build{first}: {error}"))
            .hint(format!("make's log is {}", self.means.log.display()))
    }
}

/// Programs, skeletons that are made elsewhere (libarena) and tests (`name.test`) that could not be compiled.
fn culprits(lines: &[String], selection: &Selection) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    // What fails in a folder of its own (`make[1]: …`) may be called like a program.
    let top: Vec<String> = lines.iter().filter(|line| line.starts_with("make: ")).cloned().collect();
    for target in make::failed_targets(&top) {
        let ends = [".bpf.o", ".lskel.h", ".skel.h"];
        let library = target.strip_suffix(".skel.h").filter(|name| selection.libraries.contains(*name));
        if let Some(library) = library {
            found.insert(library.to_owned());
        } else if let Some(program) = ends.iter().find_map(|end| target.strip_suffix(end)) {
            found.extend(selection.programs.get(program).cloned());
        } else if let Some(test) = target.strip_suffix(".test.o")
            && selection.tests.contains(test)
        {
            found.insert(format!("{test}.test"));
        }
    }
    found
}

/// How many steps a build will take, by the last one; 0 where there was none.
fn expected(shop: &Path) -> u64 {
    fs::read_to_string(shop.join(STEPS)).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_compile_is_told_from_what_only_follows() {
        let selection = Selection {
            programs: ["a", "b", "c"].map(String::from).into(),
            tests: ["t"].map(String::from).into(),
            libraries: ["lib"].map(String::from).into(),
            ..Selection::default()
        };
        let lines = [
            "make: *** [Makefile:1: /x/a.bpf.o] Error 1",
            "make: *** [Makefile:2: /x/t.test.o] Error 1",
            "make: *** [Makefile:3: /x/b.skel.h] Error 255",
            "make: *** [Makefile:4: /x/libbpf.a] Error 2",
            "make[1]: *** [Makefile:89: c.bpf.o] Error 1",
            "make: *** [Makefile:5: lib/lib.skel.h] Error 2",
        ];
        let found = culprits(&lines.map(String::from), &selection);
        assert_eq!(found, ["a", "b", "lib", "t.test"].map(String::from).into());
    }
}
