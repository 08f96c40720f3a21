//! The kernel structure members that the programs read, by name.
//!
//! Rust has no CO-RE relocations, so the agent reads the running kernel's BTF, resolves each name below and
//! freezes the numbers into the programs before they are verified. One table serves both sides: the kernel
//! side indexes it by [`Member`], the agent reads the names.
//!
//! A name is `struct.member[.member…]`, `sizeof:struct`, `enum:type.value` (the value) or `has:type.value` (1 when
//! the enumerator exists); alternatives for other kernel
//! versions are separated by `|`; a final `?` marks a member whose absence only switches one feature off.

/// Value of a member this kernel does not have.
pub const ABSENT: u32 = u32::MAX;

macro_rules! members {
    ($dollar:tt $($variant:ident = $name:literal,)*) => {
        /// Index of a structure member in the frozen table.
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[expect(missing_docs, reason = "each variant is documented by its kernel name in the table")]
        pub enum Member {
            $($variant,)*
        }

        /// All members, in table order.
        pub const MEMBERS: &[Member] = &[$(Member::$variant,)*];

        /// Calls a macro with the names of all members.
        #[macro_export]
        macro_rules! for_members {
            ($dollar callback:ident) => {
                $dollar callback! { $($variant)* }
            };
        }

        impl Member {
            /// The kernel name; see the module's description for its form.
            #[cfg(feature = "user")]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

/// Number of members.
pub const MEMBER_COUNT: usize = MEMBERS.len();

members! {
    $
    TaskPid = "task_struct.pid",
    TaskTgid = "task_struct.tgid",
    TaskStartBoottime = "task_struct.start_boottime",
    TaskRealParent = "task_struct.real_parent",
    TaskGroupLeader = "task_struct.group_leader",
    TaskComm = "task_struct.comm",
    TaskCred = "task_struct.cred",
    // Its own, whatever it acts as for a moment, as file systems on top of others have it do.
    TaskRealCred = "task_struct.real_cred?",
    TaskSignal = "task_struct.signal",
    TaskThreadPid = "task_struct.thread_pid",
    TaskNsproxy = "task_struct.nsproxy",
    TaskFs = "task_struct.fs",
    TaskFiles = "task_struct.files",
    TaskMm = "task_struct.mm",
    TaskCgroups = "task_struct.cgroups",
    TaskExitCode = "task_struct.exit_code",
    // Counted up at each exec; 32 bits before 5.6, of which only the low half counts.
    TaskExecId = "task_struct.self_exec_id",
    TaskChildren = "task_struct.children",
    // Without CONFIG_AUDIT there is no login uid.
    TaskLoginuid = "task_struct.loginuid?",
    // x86 only: marks a call through the 32-bit entry.
    TaskThreadStatus = "task_struct.thread_info.status?",
    // Read on arm64, where a flag marks a 32-bit program.
    TaskThreadFlags = "task_struct.thread_info.flags?",
    CredUid = "cred.uid",
    CredGid = "cred.gid",
    CredEuid = "cred.euid",
    CredEgid = "cred.egid",
    CredCapInheritable = "cred.cap_inheritable",
    CredCapPermitted = "cred.cap_permitted",
    CredCapEffective = "cred.cap_effective",
    SignalPids = "signal_struct.pids",
    SignalTty = "signal_struct.tty",
    SignalLive = "signal_struct.live",
    TtyDriver = "tty_struct.driver",
    TtyIndex = "tty_struct.index",
    TtyDriverMajor = "tty_driver.major",
    TtyDriverMinorStart = "tty_driver.minor_start",
    PidLevel = "pid.level",
    PidNumbers = "pid.numbers",
    UpidSize = "sizeof:upid",
    UpidNr = "upid.nr",
    UpidNs = "upid.ns",
    PidNsInum = "pid_namespace.ns.inum",
    NsproxyMnt = "nsproxy.mnt_ns",
    NsproxyNet = "nsproxy.net_ns",
    MntNsInum = "mnt_namespace.ns.inum",
    NetNsInum = "net.ns.inum",
    FsRoot = "fs_struct.root",
    FsPwd = "fs_struct.pwd",
    PathMnt = "path.mnt",
    PathDentry = "path.dentry",
    FilesFdt = "files_struct.fdt",
    FdtableFd = "fdtable.fd",
    FdtableMaxFds = "fdtable.max_fds",
    FilePath = "file.f_path",
    FileInode = "file.f_inode",
    FilePrivateData = "file.private_data",
    FileFlags = "file.f_flags",
    FileMode = "file.f_mode",
    DentryParent = "dentry.d_parent",
    DentryName = "dentry.d_name.name",
    DentryLen = "dentry.d_name.len",
    DentryInode = "dentry.d_inode",
    MountMnt = "mount.mnt",
    MountParent = "mount.mnt_parent",
    MountMountpoint = "mount.mnt_mountpoint",
    VfsmountRoot = "vfsmount.mnt_root",
    MountNs = "mount.mnt_ns?",
    InodeSize = "sizeof:inode",
    InodeMode = "inode.i_mode",
    InodeUid = "inode.i_uid",
    InodeGid = "inode.i_gid",
    InodeIno = "inode.i_ino",
    InodeNlink = "inode.i_nlink|inode.__i_nlink",
    InodeSb = "inode.i_sb",
    // 6.11 split the times; 6.6 renamed them.
    InodeCtimeSec = "inode.i_ctime_sec|inode.__i_ctime.tv_sec|inode.i_ctime.tv_sec?",
    InodeCtimeNsec = "inode.i_ctime_nsec|inode.__i_ctime.tv_nsec|inode.i_ctime.tv_nsec?",
    InodeMtimeSec = "inode.i_mtime_sec|inode.__i_mtime.tv_sec|inode.i_mtime.tv_sec?",
    InodeMtimeNsec = "inode.i_mtime_nsec|inode.__i_mtime.tv_nsec|inode.i_mtime.tv_nsec?",
    SbDev = "super_block.s_dev",
    SbMagic = "super_block.s_magic",
    SocketSk = "socket.sk",
    SocketType = "socket.type",
    SockFamily = "sock.__sk_common.skc_family",
    SockState = "sock.__sk_common.skc_state",
    SockNum = "sock.__sk_common.skc_num",
    SockDport = "sock.__sk_common.skc_dport",
    SockDaddr = "sock.__sk_common.skc_daddr",
    SockRcvSaddr = "sock.__sk_common.skc_rcv_saddr",
    // Without CONFIG_IPV6 there are no v6 sockets to read.
    SockV6Daddr = "sock.__sk_common.skc_v6_daddr?",
    SockV6RcvSaddr = "sock.__sk_common.skc_v6_rcv_saddr?",
    SockProtocol = "sock.sk_protocol",
    SockAckBacklog = "sock.sk_ack_backlog",
    SockMaxAckBacklog = "sock.sk_max_ack_backlog",
    UnixAddr = "unix_sock.addr",
    UnixPeer = "unix_sock.peer",
    UnixAddressLen = "unix_address.len",
    UnixAddressName = "unix_address.name",
    MmArgStart = "mm_struct.arg_start",
    MmArgEnd = "mm_struct.arg_end",
    MmEnvStart = "mm_struct.env_start",
    MmEnvEnd = "mm_struct.env_end",
    MmExeFile = "mm_struct.exe_file",
    MmTotalVm = "mm_struct.total_vm?",
    MmRssStat = "mm_struct.rss_stat?",
    // Per-CPU counters since 6.2, plain ones before.
    MmRssCount = "mm_rss_stat.count?",
    PercpuCounterSize = "sizeof:percpu_counter?",
    PercpuCounterCount = "percpu_counter.count?",
    TaskMinorFaults = "task_struct.min_flt?",
    TaskMajorFaults = "task_struct.maj_flt?",
    SignalLimits = "signal_struct.rlim?",
    BprmFilename = "linux_binprm.filename",
    BprmFdpath = "linux_binprm.fdpath?",
    BprmFile = "linux_binprm.file?",
    BprmCred = "linux_binprm.cred?",
    CssSetDfl = "css_set.dfl_cgrp",
    CssSetSubsys = "css_set.subsys",
    CssCgroup = "cgroup_subsys_state.cgroup",
    CgroupKn = "cgroup.kn",
    // 6.15 renamed the parent pointer.
    KernfsParent = "kernfs_node.__parent|kernfs_node.parent",
    KernfsName = "kernfs_node.name",
    // Index of the pids controller, used for container paths when v2 is not in use.
    PidsSubsys = "enum:cgroup_subsys_id.pids_cgrp_id?",
    // Any structure that begins with a pointer, and any that begins with a number of 64 bits.
    AnyPointer = "list_head.next",
    AnyWord = "timespec64.tv_sec",
    // A structure that begins with many such numbers: registers.
    AnyWords = "pt_regs.r15|user_pt_regs.regs",
    // 1 when the helper exists (5.11): the current task then is a pointer whose type the verifier knows.
    TypedTask = "has:bpf_func_id.BPF_FUNC_get_current_task_btf?",
}
