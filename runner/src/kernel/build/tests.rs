//! Whole builds with a make that only pretends: it compiles by copying, and does what kbuild does as far as anybody looks.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use super::super::image::tests::image;
use super::super::source::tests::tree;
use super::*;
use crate::spec::arch::BuiltImage;

/// Says `CC` and copies each source that is newer than its object. A source that holds `error` does not compile, one that holds
/// `wait` takes its time, one that holds `full` finds no space.
const MAKE: &str = r#"#!/bin/sh
for arg; do case $arg in O=*) out=${arg#O=};; esac; done
for tree; do [ "$last" = -C ] && break; last=$tree; done
echo "$*" >> "$tree/../calls"
case "$*" in
*allnoconfig) grep -v CONFIG_REFUSED "$KCONFIG_ALLCONFIG" > "$KCONFIG_CONFIG"; exit;;
*olddefconfig | *prepare) exit;;
*-n*) for c in "$tree"/init/*.c; do echo "set -e;  echo '  CC      init/x.o';"; done; exit 2;;
esac
trap 'rm -f "$o"; exit 2' TERM
mkdir -p "$out/init" "$out/arch/arm64/boot" "$out/include/config"
printf 'deps_config := \\\n\tKconfig \\\n\n' > "$out/include/config/auto.conf.cmd"
for c in "$tree"/init/*.c; do
    o=$out/init/$(basename "$c" .c).o
    [ "$o" -nt "$c" ] && continue
    echo "  CC      init/$(basename "$o")"
    : > "$o"
    case $(cat "$c") in
    *error*) echo "$c:1:1: error: planted" >&2; rm "$o"; echo 'make: *** [x] Error 1'; exit 2;;
    *full*) echo 'as: x.o: No space left on device' >&2; rm "$o"; exit 2;;
    *wait*) sleep 20 & wait;;
    esac
    cp "$c" "$o"
    printf 'savedcmd_%s := cc -D__KERNEL__\n\nsource_%s := %s\n\n$(deps_%s):\n' x x "$c" x > "$out/init/.$(basename "$o").cmd"
done
cp "$tree/../vmlinux" "$out/vmlinux"
cat "$tree/../Image" "$out"/init/*.o > "$out/arch/arm64/boot/Image"
: > "$out/modules.builtin"
"#;

struct World {
    dir: tempfile::TempDir,
    cache: Cache,
    cancel: Cancel,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        // The second one is for what comes of several sources.
        for linux in ["linux", "other"] {
            tree(&at(linux), "7.2.1");
            fs::create_dir_all(at(linux).join("init")).unwrap();
            fs::create_dir_all(at(linux).join("arch/arm64")).unwrap();
            for name in ["a", "b", "c"] {
                fs::write(at(linux).join("init").join(name).with_extension("c"), name).unwrap();
            }
        }
        fs::write(at("Image"), image("7.2.1-kvet")).unwrap();
        fs::copy("/bin/true", at("vmlinux")).unwrap();
        for (name, text) in [("make", MAKE), ("objcopy", "#!/bin/sh\ncp \"$2\" \"$3\"\n")] {
            fs::write(at(name), text).unwrap();
            fs::set_permissions(at(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        let cache = Cache::open(at("cache")).unwrap();
        Self { dir, cache, cancel: Cancel::new().unwrap() }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Builds; `settled` is what a source in the cache would be.
    fn build(&self, asked: &str, settled: bool, cancel: &Cancel) -> (Result<Kernel>, Vec<Progress>) {
        self.build_tree("linux", asked, settled, cancel)
    }

    fn build_tree(
        &self,
        folder: &str,
        asked: &str,
        settled: bool,
        cancel: &Cancel,
    ) -> (Result<Kernel>, Vec<Progress>) {
        let fragment = fragment::parse(asked, Path::new("f.config")).unwrap();
        let source = SourceSpec::Tree(self.at(folder));
        let recipe = Recipe::default();
        let spec = KernelSpec::Source { source: source.clone(), recipe: recipe.clone() };
        let sources = sources();
        let mut tree =
            source::ensure(&source, source::Purpose::Kernel, &self.cache, &sources, &mut |_| {}, cancel)
                .unwrap();
        tree.settled = settled;
        let work = Work {
            order: Order {
                spec: &spec,
                source: &source,
                recipe: &recipe,
                arch: Arch::Arm64,
                cache: &self.cache,
                sources: &sources,
                cancel,
            },
            merged: merge::merge([fragment], tree.version).unwrap(),
            tree,
            facts: facts(),
            tools: Found {
                make: self.at("make"),
                arguments: vec![],
                compiler: "a compiler 1".into(),
                linker: "a linker 1".into(),
                others: vec![],
                pahole: "v1.30".into(),
                ccache: false,
                objcopy: self.at("objcopy"),
            },
            _pahole: None,
            jobs: 2,
        };
        let mut seen = Vec::new();
        let kernel = work.acquire(&mut |p| seen.push(p));
        (kernel, seen)
    }

    fn built(&self) -> (Kernel, u64) {
        let (kernel, _) = self.build("CONFIG_A=y\n", false, &self.cancel);
        let kernel = kernel.unwrap();
        let objects = kernel.facts.built.as_ref().unwrap().objects;
        (kernel, objects)
    }

    fn write(&self, source: &str, text: &str) {
        // The file system's clock is coarse.
        std::thread::sleep(Duration::from_millis(20));
        fs::write(self.at("linux/init").join(source), text).unwrap();
    }

    fn calls(&self) -> usize {
        fs::read_to_string(self.at("calls")).unwrap_or_default().lines().count()
    }
}

fn sources() -> Sources {
    Sources::new(crate::spec::parse("packages_suite: main\nsuites: []\n").unwrap())
}

pub(super) fn facts() -> BuildFacts {
    BuildFacts {
        source_arch: "arm64".into(),
        triplet: "aarch64-linux-gnu".into(),
        loader: String::new(),
        cross_package: String::new(),
        images: vec![BuiltImage {
            needs: None,
            target: "Image".into(),
            image: "arch/arm64/boot/Image".into(),
        }],
    }
}

#[test]
fn a_second_build_compiles_what_changed_and_another_kernel_has_another_signature() {
    let world = World::new();
    let (first, objects) = world.built();
    assert_eq!((objects, first.facts.release.as_str()), (3, "7.2.1-kvet"));
    assert!(first.config.as_ref().unwrap().is_builtin("CONFIG_A") && first.is_cached());
    assert!(first.modules.as_ref().unwrap().join("modules.builtin").is_file());
    assert!(first.facts.origin.contains("a compiler 1"), "{}", first.facts.origin);
    let (same, objects) = world.built();
    assert_eq!((same.image.clone(), objects), (first.image.clone(), 0), "the entry is in use and stays");
    drop((first, same));
    world.write("b.c", "changed");
    fs::write(world.at("vmlinux"), fs::read("/bin/false").unwrap()).unwrap();
    let (other, objects) = world.built();
    assert_eq!(objects, 1);
    let listed = world.cache.list().unwrap();
    assert_eq!(listed.len(), 2, "both kernels are there");
    let found = find_built(&format!("tree:{}", world.at("linux").display()), None, &world.cache).unwrap();
    assert_eq!(found.image, other.image);
    let signature = other.facts.built.as_ref().unwrap().signature.clone();
    assert_eq!(find_built(&signature[..12], Some(Arch::Arm64), &world.cache).unwrap().image, other.image);
    let error = find_built("tree:/nowhere", None, &world.cache).unwrap_err();
    assert!(error.hint_text().unwrap().contains("kvet kernel build tree:/nowhere"), "{error}");
}

#[test]
fn a_kernel_that_several_sources_make_is_known_by_each_of_them() {
    let world = World::new();
    let source = |folder: &str| format!("tree:{}", world.at(folder).display());
    let build = |folder: &str| world.build_tree(folder, "CONFIG_A=y\n", false, &world.cancel).0.unwrap();
    // The image and whose it is said to be.
    let found = |name: &str| {
        let kernel = find_built(name, None, &world.cache).unwrap();
        (kernel.image.clone(), kernel.facts.built.as_ref().unwrap().source.clone())
    };
    let image = build("linux").image.clone();
    assert_eq!(build("other").image, image);
    for folder in ["linux", "other"] {
        assert_eq!(found(&source(folder)), (image.clone(), source(folder)));
    }
    // A guest runs it meanwhile: nobody has the entry alone.
    let (in_use, _) = (build("linux"), world.build_tree("other", "CONFIG_B=y\n", false, &world.cancel));
    let again = build("other");
    assert_eq!(again.image, image);
    assert_eq!(again.facts.built.as_ref().unwrap().source, source("other"), "whatever made it first");
    assert_eq!(found(&source("other")), (image.clone(), source("other")), "the newest of its kernels");
    drop((in_use, again));

    fs::write(world.at("vmlinux"), fs::read("/bin/false").unwrap()).unwrap();
    world.write("b.c", "changed");
    let newer = build("linux").image.clone();
    assert_ne!(newer, image);
    assert_eq!(found(&source("linux")), (newer.clone(), source("linux")));
    assert_eq!(found(&source("other")), (image, source("other")));
    assert_eq!(found(newer.parent().unwrap().file_name().unwrap().to_str().unwrap()).0, newer);
}

#[test]
fn a_build_that_comes_to_a_kernel_in_use_is_not_done_again() {
    let world = World::new();
    let settled = |folder: &str| world.build_tree(folder, "CONFIG_A=y\n", true, &world.cancel).0.unwrap();
    let in_use = settled("linux");
    let same = settled("other");
    assert_eq!(in_use.image, same.image);
    let calls = world.calls();
    assert_eq!(settled("other").facts.built, same.facts.built);
    assert_eq!(settled("linux").facts.built, in_use.facts.built);
    assert_eq!(world.calls(), calls, "make was called");
}

#[test]
fn what_cannot_change_is_not_built_again() {
    let world = World::new();
    world.build("CONFIG_A=y\n", true, &world.cancel).0.unwrap();
    let calls = world.calls();
    world.build("CONFIG_A=y\n", true, &world.cancel).0.unwrap();
    assert_eq!(world.calls(), calls);
    world.build("CONFIG_A=y\nCONFIG_B=y\n", true, &world.cancel).0.unwrap();
    assert!(world.calls() > calls, "another config is another kernel");
    assert_eq!(
        world.cache.prune(super::super::Prune::All).unwrap().removed.len(),
        4,
        "two kernels, two folders"
    );
}

/// What was told: objects done, and of how many.
fn steps(seen: &[Progress]) -> Vec<(u64, u64)> {
    let step = |p: &Progress| match p {
        Progress::Steps { done, total, .. } => Some((*done, *total)),
        _ => None,
    };
    seen.iter().filter_map(step).collect()
}

#[test]
fn progress_counts_what_changed_since_the_last_build() {
    let world = World::new();
    world.built();
    let dry_runs = || {
        let calls = fs::read_to_string(world.at("calls")).unwrap();
        calls.lines().filter(|line| line.contains(" -n ")).count()
    };
    assert_eq!(dry_runs(), 1);
    world.write("a.c", "changed");
    world.write("b.c", "changed");
    let (kernel, seen) = world.build("CONFIG_A=y\n", false, &world.cancel);
    kernel.unwrap();
    assert_eq!((steps(&seen).first(), steps(&seen).last()), (Some(&(1, 2)), Some(&(2, 2))), "{seen:?}");
    assert_eq!(dry_runs(), 1, "it takes as long as a small build");
}

#[test]
fn progress_counts_objects_of_a_dry_run() {
    let world = World::new();
    let (kernel, seen) = world.build("CONFIG_A=y\n", false, &world.cancel);
    kernel.unwrap();
    let steps = steps(&seen);
    assert_eq!((steps.first(), steps.last()), (Some(&(0, 0)), Some(&(3, 3))), "{steps:?}");
    assert!(steps.contains(&(1, 3)), "{steps:?}");
    let log = seen.iter().find_map(|p| if let Progress::BuildLog(path) = p { Some(path) } else { None });
    let log = fs::read_to_string(log.unwrap()).unwrap();
    assert!(log.starts_with("$ ") && log.contains("  CC      init/a.o"), "{log}");
}

#[test]
fn an_error_is_the_kernels_fault_and_the_next_build_goes_on() {
    let world = World::new();
    world.write("b.c", "error");
    let error = world.build("CONFIG_A=y\n", false, &world.cancel).0.unwrap_err();
    assert_eq!(error.fault(), Fault::Kernel);
    assert!(
        error.to_string().starts_with("unbuildable: ") && error.to_string().contains("planted"),
        "{error}"
    );
    world.write("b.c", "full");
    let error = world.build("CONFIG_A=y\n", false, &world.cancel).0.unwrap_err();
    assert_eq!(error.fault(), Fault::Host);
    assert!(error.to_string().contains("no space left"), "{error}");
    world.write("b.c", "b");
    let (kernel, seen) = world.build("CONFIG_A=y\n", false, &world.cancel);
    assert_eq!(kernel.unwrap().facts.built.unwrap().objects, 2, "a was made before");
    let said = |p: &Progress| matches!(p, Progress::Note(text) if text.contains("going on with a build"));
    assert!(seen.iter().any(said), "{seen:?}");
}

#[test]
fn a_config_that_was_proved_is_made_again_when_what_it_is_made_of_changes() {
    let world = World::new();
    let configs = || fs::read_to_string(world.at("calls")).unwrap().matches("allnoconfig").count();
    world.built();
    world.write("b.c", "changed");
    assert_eq!((world.built().1, configs()), (1, 1));
    fs::write(world.at("linux/Kconfig"), "config A\n\tbool \"a\"\n").unwrap();
    world.write("b.c", "changed again");
    assert_eq!((world.built().1, configs()), (1, 2));
}

#[test]
fn after_source_that_does_not_compile_a_build_is_as_short_as_after_any() {
    let world = World::new();
    world.built();
    let dry_runs = || fs::read_to_string(world.at("calls")).unwrap().matches(" -n ").count();
    world.write("b.c", "error");
    let (kernel, seen) = world.build("CONFIG_A=y\n", false, &world.cancel);
    assert_eq!(kernel.unwrap_err().fault(), Fault::Kernel);
    let took = |part| seen.iter().any(|p| matches!(p, Progress::Worked(time) if time.work == part));
    assert!(took(event::Work::Configure) && took(event::Work::Make) && !took(event::Work::Publish));
    world.write("b.c", "b");
    let (kernel, seen) = world.build("CONFIG_A=y\n", false, &world.cancel);
    assert_eq!(kernel.unwrap().facts.built.unwrap().objects, 1);
    assert!(!seen.iter().any(|p| matches!(p, Progress::Note(_))), "{seen:?}");
    assert_eq!(dry_runs(), 1, "nothing has to be looked for that was left half made");
}

#[test]
fn what_is_known_of_a_build_folder_stays_true() {
    let world = World::new();
    let dry_runs = || fs::read_to_string(world.at("calls")).unwrap().matches(" -n ").count();
    // All of it is compiled, and then something else goes wrong.
    fs::rename(world.at("vmlinux"), world.at("gone")).unwrap();
    let error = world.build("CONFIG_A=y\n", false, &world.cancel).0.unwrap_err();
    assert_eq!((error.fault(), dry_runs()), (Fault::Host, 1));
    fs::rename(world.at("gone"), world.at("vmlinux")).unwrap();
    assert_eq!((world.built().1, dry_runs()), (0, 1), "nothing is left to be counted");

    let whose = || world.cache.list_work().unwrap().into_iter().map(|work| work.what).collect::<Vec<_>>();
    assert_eq!(whose(), [format!("tree:{}", world.at("linux").display())]);
    // Another name of the same folder.
    world.build_tree("other/../linux", "CONFIG_A=y\n", false, &world.cancel).0.unwrap();
    assert_eq!(whose(), [format!("tree:{}", world.at("other/../linux").display())]);
}

/// Builds until this object is begun, and cancels.
fn cancelled_at(world: &World, object: &str) {
    let cancel = Cancel::new().unwrap();
    let (later, builds) = (cancel.clone(), world.at("cache/builds"));
    let object = Path::new("out/init").join(object);
    std::thread::spawn(move || {
        for _ in 0..500 {
            std::thread::sleep(Duration::from_millis(20));
            let built = fs::read_dir(&builds).into_iter().flatten().flatten();
            // The compiler has begun when there is nothing in it.
            let begun = |dir: &Path| fs::metadata(dir.join(&object)).is_ok_and(|meta| meta.len() == 0);
            if built.into_iter().any(|dir| begun(&dir.path())) {
                break;
            }
        }
        later.request();
    });
    let error = world.build("CONFIG_A=y\n", false, &cancel).0.unwrap_err();
    assert_eq!(error.fault(), Fault::Interrupted);
}

#[test]
fn a_cancelled_build_can_be_gone_on_with() {
    let world = World::new();
    let dry_runs = || fs::read_to_string(world.at("calls")).unwrap().matches(" -n ").count();
    world.write("b.c", "wait");
    cancelled_at(&world, "b.o");
    world.write("b.c", "b");
    assert_eq!((world.built().1, dry_runs()), (2, 2), "a was made before");
    // Now that everything was compiled once, what is left to do is known without one.
    world.write("c.c", "wait");
    cancelled_at(&world, "c.o");
    world.write("c.c", "c");
    assert_eq!((world.built().1, dry_runs()), (1, 2));
}

#[test]
fn two_at_once_build_once() {
    let world = World::new();
    let both = std::thread::scope(|s| {
        let one = s.spawn(|| world.build("CONFIG_A=y\n", true, &world.cancel).0.map(|k| k.image));
        let two = s.spawn(|| world.build("CONFIG_A=y\n", true, &world.cancel).0.map(|k| k.image));
        [one.join().unwrap().unwrap(), two.join().unwrap().unwrap()]
    });
    assert_eq!(both[0], both[1]);
    let calls = fs::read_to_string(world.at("calls")).unwrap();
    assert_eq!(calls.lines().filter(|l| l.ends_with(" Image")).count(), 2, "a dry run and a build: {calls}");
}

#[test]
fn an_option_that_is_refused_stops_it_before_anything_is_compiled() {
    let world = World::new();
    fs::write(world.at("linux/Kconfig"), "config A\n\tbool \"a\"\n").unwrap();
    let error = world.build("CONFIG_A=y\nCONFIG_REFUSED=y\n", false, &world.cancel).0.unwrap_err();
    assert_eq!(error.fault(), Fault::Caller);
    assert!(
        error.to_string().contains("CONFIG_REFUSED=y (f.config:2): this release has no such option"),
        "{error}"
    );
    assert!(!fs::read_to_string(world.at("calls")).unwrap().contains(" Image"));
}
