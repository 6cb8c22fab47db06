//! Before the boot: does this kernel have what kvet and the suite cannot do without?
//!
//! A driver that is missing shows itself in the guest as silence, and silence as a time-out. The kernel's config
//! and its modules say it beforehand, in one line each.

use super::modules::{ModuleTree, Place};
use crate::error::{Error, Result};

/// Looks up a symbol (`CONFIG_NET_9P`) in a kernel's config: its value as written there (`y`, `m`, `"text"`), or
/// nothing if it is not set.
pub type Config<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A setting that somebody needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigNeed {
    /// `CONFIG_BPF_SYSCALL`.
    pub symbol: String,
    /// The values that will do, the best first: `y`, `m`.
    pub any_of: Vec<String>,
    /// The module that is meant where the value is `m`, if that is known.
    pub module: Option<String>,
    /// What it is needed for: "to …".
    pub why: String,
}

/// What is needed of a kernel, besides what every run needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    /// Files are shared over 9p.
    pub share_9p: bool,
    /// The archive has lost the kernel's modules. Debian builds 9p as modules, in all releases.
    pub modules_lost: bool,
    /// What the machine needs (`configs/arch`): above all the driver of the serial console.
    pub machine: Vec<ConfigNeed>,
    /// What the suite needs.
    pub suite: Vec<ConfigNeed>,
    /// The modules that the suite needs; built in will do.
    pub suite_modules: Vec<String>,
}

/// Whose need is not met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NeededBy {
    /// kvet itself: such a kernel does not get as far as the first test.
    Kvet,
    /// The suite.
    Suite,
}

/// A need that is not met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Whose it is.
    pub needed_by: NeededBy,
    /// The symbol or the module.
    pub what: String,
    /// One line: what the kernel has instead, and what is needed why.
    pub text: String,
}

/// What the preflight found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// What is missing.
    pub problems: Vec<Problem>,
    /// What could not be checked, a line each.
    pub notes: Vec<String>,
}

impl Problem {
    /// Whether it is about sharing files over 9p, and about nothing else.
    pub fn is_9p(&self) -> bool {
        TRANSPORT.iter().any(|(symbol, module, _)| {
            is_9p(symbol) && (self.what == *symbol || Some(self.what.as_str()) == *module)
        })
    }
}

/// Why a kernel cannot share files over 9p; nothing if it can, or if neither its config nor its modules tell.
///
/// # Errors
/// The module tree cannot be read.
pub fn lacks_9p(
    kernel: &str,
    modules_lost: bool,
    config: Option<Config>,
    tree: &ModuleTree,
) -> Result<Option<String>> {
    let needs = Needs { share_9p: true, modules_lost, ..Needs::default() };
    let findings = check(kernel, &needs, config, tree)?;
    Ok(findings.problems.into_iter().find(Problem::is_9p).map(|problem| problem.text))
}

impl Findings {
    /// Whether kvet can work with the kernel at all.
    ///
    /// # Errors
    /// It cannot: the kernel is to blame, and the message has every reason.
    pub fn usable(&self, kernel: &str) -> Result<()> {
        let reasons: Vec<&str> = self.of(NeededBy::Kvet).map(|problem| problem.text.as_str()).collect();
        if reasons.is_empty() {
            return Ok(());
        }
        let hint = if kernel.contains("cloud") {
            "Debian's cloud flavour has no 9p: take the normal flavour"
        } else {
            "take another flavour of this kernel, or build it with these options"
        };
        Err(Error::kernel(format!("kvet cannot work with {kernel}: {}", reasons.join("; "))).hint(hint))
    }

    /// The problems of one side.
    pub fn of(&self, side: NeededBy) -> impl Iterator<Item = &Problem> {
        self.problems.iter().filter(move |problem| problem.needed_by == side)
    }
}

/// What every run needs: symbol, module where it may be one, and what for.
const TRANSPORT: [(&str, Option<&str>, &str); 12] = [
    ("CONFIG_BLK_DEV_INITRD", None, "to unpack the initramfs that init is in"),
    ("CONFIG_BINFMT_ELF", None, "to run programs"),
    ("CONFIG_DEVTMPFS", None, "to have device nodes in the guest"),
    ("CONFIG_TMPFS", None, "to have a writable /tmp in the guest"),
    ("CONFIG_PROC_FS", None, "to mount /proc in the guest"),
    ("CONFIG_SYSFS", None, "to mount /sys in the guest"),
    ("CONFIG_VIRTIO_PCI", Some("virtio_pci"), "to reach QEMU's virtio devices"),
    ("CONFIG_VIRTIO_CONSOLE", Some("virtio_console"), "to talk to init"),
    ("CONFIG_NET_9P", Some("9pnet"), "to share files with the guest"),
    ("CONFIG_NET_9P_VIRTIO", Some("9pnet_virtio"), "to share files with the guest"),
    ("CONFIG_9P_FS", Some("9p"), "to mount what is shared"),
    ("CONFIG_PRINTK", None, "to see what the kernel says"),
];

fn is_9p(symbol: &str) -> bool {
    symbol.contains("9P")
}

/// The modules that a guest loads at boot, where the kernel does not have them built in.
pub fn transport_modules(share_9p: bool) -> impl Iterator<Item = &'static str> {
    let wanted = move |symbol: &str| share_9p || !is_9p(symbol);
    TRANSPORT.iter().filter_map(move |(symbol, module, _)| module.filter(|_| wanted(symbol)))
}

/// Those of the transport's modules that this config builds in: for a kernel that came without `modules.builtin`
/// ([`ModuleTree::add_builtin`]).
pub fn transport_builtin(config: Config) -> Vec<String> {
    TRANSPORT
        .iter()
        .filter(|(symbol, _, _)| config(symbol).as_deref() == Some("y"))
        .filter_map(|(_, module, _)| module.map(str::to_owned))
        .collect()
}

/// Compares what is needed with what the kernel has. `kernel` is its name as the user knows it.
///
/// # Errors
/// The module tree cannot be read.
pub fn check(kernel: &str, needs: &Needs, config: Option<Config>, tree: &ModuleTree) -> Result<Findings> {
    let mut check = Check { kernel, config, tree, findings: Findings::default(), unchecked: Vec::new() };
    if needs.share_9p && needs.modules_lost {
        check.lost_9p();
    }
    for (symbol, module, why) in TRANSPORT.into_iter().filter(|(symbol, ..)| needs.share_9p || !is_9p(symbol))
    {
        // The others depend on it: one cause, one line.
        if is_9p(symbol) && check.findings.problems.iter().any(|problem| problem.what == "CONFIG_NET_9P") {
            continue;
        }
        let any_of =
            if module.is_some() { vec!["y".to_owned(), "m".to_owned()] } else { vec!["y".to_owned()] };
        let module = module.map(str::to_owned);
        let need = ConfigNeed { symbol: symbol.to_owned(), any_of, module, why: why.to_owned() };
        check.setting(NeededBy::Kvet, &need)?;
    }
    for need in &needs.machine {
        check.setting(NeededBy::Kvet, need)?;
    }
    for need in &needs.suite {
        check.setting(NeededBy::Suite, need)?;
    }
    for module in &needs.suite_modules {
        check.module(NeededBy::Suite, module, module, "which the suite asks for")?;
    }
    Ok(check.finish())
}

struct Check<'a> {
    kernel: &'a str,
    config: Option<Config<'a>>,
    tree: &'a ModuleTree,
    findings: Findings,
    /// What the missing config leaves open.
    unchecked: Vec<String>,
}

impl Check<'_> {
    /// Neither a config nor a module says so: they are what is lost.
    fn lost_9p(&mut self) {
        self.problem(NeededBy::Kvet, "CONFIG_NET_9P", |_| {
            "its modules are gone from the archive, and 9p, which shares files with the guest, is one"
                .to_owned()
        });
    }

    fn setting(&mut self, by: NeededBy, need: &ConfigNeed) -> Result<()> {
        let Some(config) = self.config else {
            // Without a config, what is or could be a module still tells.
            return match &need.module {
                Some(module) => self.module(by, &need.symbol, module, &format!("needed {}", need.why)),
                None => {
                    self.unchecked.push(need.symbol.clone());
                    Ok(())
                }
            };
        };
        let value = config(&need.symbol).filter(|value| value != "n");
        let fits = need.any_of.iter().any(|wanted| match &value {
            Some(value) => value == wanted || value.trim_matches('"') == wanted,
            None => wanted == "n",
        });
        if !fits {
            let has = value.map_or_else(|| "is not set".to_owned(), |value| format!("is {value}"));
            let wanted = need.any_of.join(" or ");
            self.problem(by, &need.symbol, |kernel| {
                format!("{} {has} in {kernel}; {wanted} is needed {}", need.symbol, need.why)
            });
            return Ok(());
        }
        match &need.module {
            Some(module) if value.as_deref() == Some("m") => {
                self.module_file(by, module, &format!("{}=m, needed {}", need.symbol, need.why))
            }
            _ => Ok(()),
        }
    }

    /// The config says that it is a module: then it must be there as one.
    fn module_file(&mut self, by: NeededBy, module: &str, why: &str) -> Result<()> {
        if self.tree.find(module)?.is_some() {
            return Ok(());
        }
        let place = match self.tree.root() {
            Some(root) => format!("is not in {}", root.display()),
            None => "is missing: the kernel came without modules".to_owned(),
        };
        self.problem(by, module, |kernel| format!("module {module} of {kernel} {place} ({why})"));
        Ok(())
    }

    /// The module must be there, as a file or built in, as far as the tree can tell.
    fn module(&mut self, by: NeededBy, what: &str, module: &str, why: &str) -> Result<()> {
        match self.tree.find(module)? {
            Some(Place::Builtin | Place::File(_)) => {}
            None if self.tree.is_complete() => {
                self.problem(by, what, |kernel| {
                    format!("{kernel} has no {module}, neither built in nor as a module, {why}")
                });
            }
            // The tree may be the modules alone, and not say what the image has.
            None => self.unchecked.push(what.to_owned()),
        }
        Ok(())
    }

    fn problem(&mut self, needed_by: NeededBy, what: &str, text: impl Fn(&str) -> String) {
        let text = text(self.kernel);
        self.findings.problems.push(Problem { needed_by, what: what.to_owned(), text });
    }

    fn finish(mut self) -> Findings {
        if !self.unchecked.is_empty() {
            let lacks = match (self.config, self.tree.is_complete()) {
                (None, false) => "neither a config nor modules.builtin",
                (None, true) => "no config",
                (Some(_), _) => "no modules.builtin",
            };
            let list = self.unchecked.join(", ");
            self.findings.notes.push(format!("{} came with {lacks}; not checked: {list}", self.kernel));
        }
        self.findings
    }
}

#[cfg(test)]
mod tests;
