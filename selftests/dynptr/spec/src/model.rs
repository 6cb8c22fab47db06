// SPDX-License-Identifier: GPL-2.0-only
//! What a test is, as the harness' tables have it.

use crate::release::{Has, Point, Release, Running};

/// A named set of tests, one KTAP subtest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "load", derive(databake::Bake), databake(path = dynptr_spec))]
pub struct Group {
    /// Its name, the first half of `group/test`.
    pub name: &'static str,
    /// Its tests, sorted by name.
    pub tests: &'static [Test],
}

/// One test: one program, how it is run, and what has to come of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "load", derive(databake::Bake), databake(path = dynptr_spec))]
pub struct Test {
    /// Its name within the group.
    pub name: &'static str,
    /// The BPF program under test.
    pub program: &'static str,
    /// The file that the program is from, as `local` for `bpf/local.bpf.c`.
    pub source: &'static str,
    /// The program that is loaded along with it.
    pub with: Option<&'static str>,
    /// A third program.
    pub also: Option<&'static str>,
    /// The structure of operations that the program under test belongs to.
    pub ops: Option<Ops>,
    /// The rights of who loads it.
    pub rights: Rights,
    /// What the kernel has to have.
    pub needs: &'static [Need],
    /// What it can be built without, and must not be.
    pub config: &'static [Wanted],
    /// The functions of the kernel that the program under test calls.
    pub calls: &'static [&'static str],
    /// The maps that its programs use.
    pub maps: &'static [&'static str],
    /// Length of the packet, where there is one.
    pub bytes: usize,
    /// The type that the frame says it has.
    pub protocol: u16,
    /// So much of the packet is in one piece; all of it where this is not said.
    pub linear: Option<usize>,
    /// The release window: from this point on, the program is told to expect something else.
    pub release_window: Option<Point>,
    /// The mistake of the kernel's that the test runs into.
    pub bug: Option<Bug>,
    /// What is done with the program.
    pub run: Run,
}

/// A function of the kernel that a test calls, or another feature that it depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "load", derive(databake::Bake), databake(path = dynptr_spec))]
pub struct Need {
    /// Its name.
    pub name: &'static str,
    /// Since when kernels have it. One that is new enough and does not have it fails the test.
    pub since: Point,
}

impl Need {
    /// Is this a function of the kernel, whose types tell whether it is there?
    pub fn is_function(&self) -> bool {
        self.name.starts_with("bpf_")
    }
}

/// An option of the kernel's configuration that a test needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "load", derive(databake::Bake), databake(path = dynptr_spec))]
pub struct Wanted {
    /// Its name, `CONFIG_TUN`.
    pub option: &'static str,
    /// The modules that it may be: one of them has to be at hand.
    pub modules: &'static [&'static str],
    /// Its value is a list with commas, and has to have this.
    pub has: Option<&'static str>,
    /// A type that only kernels have that were built with it.
    pub shows: Option<&'static str>,
}

/// A structure of operations that programs carry out for the kernel (`struct_ops`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "load", derive(databake::Bake), databake(path = dynptr_spec))]
pub struct Ops {
    /// Its map.
    pub map: &'static str,
    /// The programs for its other operations, loaded along with the one under test.
    pub programs: &'static [&'static str],
}

/// A known mistake of the kernel's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "load", derive(databake::Bake), databake(path = dynptr_spec))]
pub struct Bug {
    /// What is wrong.
    pub what: &'static str,
    /// The commit of the main line that put it right.
    pub commit: &'static str,
    /// The first kernels that have it.
    pub introduced: Point,
    /// The first kernels that do not have it any more.
    pub fixed: Point,
    /// What the first line of the test's diagnostics has in it, if the test fails for this reason.
    pub fails: &'static str,
}

impl Bug {
    /// May it be in this kernel?
    pub fn is_in(&self, running: Running) -> bool {
        self.introduced.of(running) != Has::No && self.fixed.of(running) != Has::Yes
    }

    /// May it not be in this kernel? One that somebody built may have the fix before any release has it.
    pub fn may_be_absent_from(&self, running: Running) -> bool {
        !running.exact || self.introduced.of(running) != Has::Yes || self.fixed.of(running) != Has::No
    }
}

/// What is done with a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "load", derive(databake::Bake), databake(path = dynptr_spec))]
pub enum Run {
    /// Load it and run it: all that it expects has to hold.
    Trigger(Trigger),
    /// Load it: the verifier has to refuse it, in these words.
    Rejected(&'static [Expectation]),
}

/// How a program is made to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "load", derive(databake::Bake, serde::Deserialize), databake(path = dynptr_spec), serde(rename_all = "snake_case"))]
pub enum Trigger {
    /// Attach it, and make the system call `nanosleep`.
    Nanosleep,
    /// Let the kernel run it (`BPF_PROG_TEST_RUN`), without a packet; the other program before it, if there is one.
    Call,
    /// Let the kernel run it, beside another process with other memory at the same addresses.
    OtherTask,
    /// Let the kernel run it, and see as a consumer what it has left in the ring buffer.
    Ringbuf,
    /// Let the kernel run it, with a packet.
    TestRun,
    /// The same for XDP, with every form of metadata that the kernel takes or refuses.
    XdpContext,
    /// Attach it to TC ingress of a tap device, the other program to XDP, and send it a packet.
    Tap,
    /// The same while somebody else holds the packet, so that the program sees a clone.
    TapClone,
    /// The same on one end of a veth pair; the packet is sent on the other.
    Veth,
    /// Attach it to TC egress, where a packet leaves that has come through the other program and is routed into a
    /// tunnel; the third program, if there is one, wraps it.
    Lwt,
    /// Attach it to TC ingress of the loopback device, and send a large segment of TCP.
    Loopback,
    /// Attach it, and open a file that has extended attributes.
    Open,
    /// Attach it, and open a file that fs-verity protects.
    Verity,
    /// Attach it, and ask for something about a file on a disk, whose contents are not in memory.
    Cold,
    /// Attach it, and make a `bpf` system call with a signed message in a map.
    Bpf,
    /// Attach it, and connect a socket.
    Connect,
    /// Attach it, and send a datagram that nobody wants.
    Drop,
    /// Put messages into a ring buffer for the kernel, and let the kernel run it.
    UserRingbuf,
    /// Attach it to a map of sockets, and send a segment of TCP from one of them to the other.
    Sockmap,
    /// Attach it to netfilter, and send a datagram.
    Netfilter,
    /// Route a packet to it that has come to a segment of IPv6's segment routing.
    Seg6Local,
    /// Have a device queue its packets with it, and send a datagram through that.
    Qdisc,
    /// Attach it to the root of the control groups, and do all that programs are asked about there.
    Cgroup,
    /// Attach it to the network namespace's search for sockets, and look for one.
    SocketLookup,
    /// Attach it to a group of sockets with one port, and send a datagram there.
    Reuseport,
    /// Attach it to a clock of perf's.
    Perf,
    /// Attach it to the tracepoint of the system call `nanosleep`, and make that.
    Tracepoint,
}

/// The rights of who loads a program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "load", derive(databake::Bake, serde::Deserialize), databake(path = dynptr_spec), serde(rename_all = "snake_case"))]
pub enum Rights {
    /// All of them.
    #[default]
    All,
    /// `CAP_BPF`, and no other capability.
    Bpf,
    /// No capability at all.
    None,
}

/// The words of a range of kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "load", derive(databake::Bake), databake(path = dynptr_spec))]
pub struct Expectation {
    /// Kernels that have reached all of these …
    pub since: &'static [Point],
    /// … and none of these …
    pub until: &'static [Point],
    /// … say this somewhere in the verifier's log; without a text, they take the program.
    pub text: Option<&'static str>,
}

impl Expectation {
    /// May these be the words of this kernel?
    pub fn covers(&self, running: Running) -> bool {
        self.since.iter().all(|it| it.of(running) != Has::No)
            && !self.until.iter().any(|it| it.of(running) == Has::Yes)
    }
}

impl Test {
    /// The feature that this kernel is too old for: the newest, where it lacks several.
    pub fn missing_in(&self, running: Running) -> Option<&'static Need> {
        self.needs
            .iter()
            .filter(|need| need.since.of(running) == Has::No)
            .max_by_key(|need| need.since.mainline)
    }

    /// Is it about a program that the verifier has to refuse?
    pub fn is_refused(&self) -> bool {
        matches!(self.run, Run::Rejected(_))
    }

    /// Is this, `group/test`, its name?
    pub fn is_called(&self, name: &str, group: &str) -> bool {
        name.split_once('/') == Some((group, self.name))
    }

    /// The features that this kernel's name does not tell about.
    pub fn unknown_in(&self, running: Running) -> impl Iterator<Item = &'static Need> {
        self.needs.iter().filter(move |need| need.since.of(running) == Has::Unknown)
    }

    /// The programs that have to be loaded: the one under test, and its company.
    pub fn programs(&self) -> impl Iterator<Item = &'static str> {
        let others = self.ops.iter().flat_map(|ops| ops.programs).copied();
        std::iter::once(self.program).chain(self.with).chain(self.also).chain(others)
    }

    /// Since which release of the main line it can be run.
    pub fn since(&self) -> Option<Release> {
        self.needs.iter().map(|need| need.since.mainline).max()
    }
}

/// A subtest of upstream's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "load", derive(databake::Bake), databake(path = dynptr_spec))]
pub struct Upstream {
    /// The test that it is part of.
    pub suite: &'static str,
    /// Its name.
    pub name: &'static str,
    /// The tests of ours that check the same, as `group/test`.
    pub by: &'static [&'static str],
    /// Why there is none, or what they leave out.
    pub hole: Option<&'static str>,
}

/// What the verifier has to refuse of a function, by one of the rules of `rejections.yaml`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "load", derive(databake::Bake), databake(path = dynptr_spec))]
pub struct Rejection {
    /// The function.
    pub function: &'static str,
    /// The rule's name.
    pub rule: &'static str,
    /// The tests that see it refuse that, as `group/test`.
    pub by: &'static [&'static str],
    /// Why there are none, by the name of one of its reasons.
    pub none: Option<&'static str>,
}

/// A mutant that its test does not notice, or that no kernel can be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "load", derive(databake::Bake), databake(path = dynptr_spec))]
pub struct Survivor {
    /// `group/test`.
    pub test: &'static str,
    /// What is wrong, as the mutant's name has it.
    pub mutation: &'static str,
    /// Why that is right.
    pub why: &'static str,
    /// The first kernels of which that is so, where it is not so of all …
    pub since: Option<Release>,
    /// … and the first of which it is not so any more.
    pub until: Option<Release>,
    /// It is not run.
    pub exempt: bool,
}

impl Survivor {
    /// Is it so of this kernel?
    pub fn is_of(&self, running: Running) -> bool {
        let release = running.release;
        self.since.is_none_or(|it| release >= it) && self.until.is_none_or(|it| release < it)
    }
}
