//! What Windows offers a process against itself. Each is refused by some version or by wine: then it is
//! done without.
#![expect(unsafe_code, reason = "calls into the system's library")]

use std::mem::size_of_val;

use windows_sys::Win32::System::{
    Diagnostics::Debug::{
        SEM_FAILCRITICALERRORS, SEM_NOGPFAULTERRORBOX, SEM_NOOPENFILEERRORBOX, SetErrorMode,
    },
    SystemServices::{
        PROCESS_MITIGATION_DYNAMIC_CODE_POLICY, PROCESS_MITIGATION_EXTENSION_POINT_DISABLE_POLICY,
        PROCESS_MITIGATION_IMAGE_LOAD_POLICY,
    },
    Threading::{
        PROCESS_MITIGATION_POLICY, ProcessDynamicCodePolicy, ProcessExtensionPointDisablePolicy,
        ProcessImageLoadPolicy, SetProcessMitigationPolicy,
    },
};

/// No error report with a dump of the memory; no code that was not loaded from a file of this machine.
pub(super) fn harden() {
    let quiet = SEM_FAILCRITICALERRORS | SEM_NOGPFAULTERRORBOX | SEM_NOOPENFILEERRORBOX;
    // SAFETY: it takes a number.
    unsafe { SetErrorMode(quiet) };
    // ProhibitDynamicCode.
    let mut code = PROCESS_MITIGATION_DYNAMIC_CODE_POLICY::default();
    code.Anonymous.Flags = 1;
    set(ProcessDynamicCodePolicy, &code);
    // DisableExtensionPoints: hooks and the like, by which other programs come in.
    let mut hooks = PROCESS_MITIGATION_EXTENSION_POINT_DISABLE_POLICY::default();
    hooks.Anonymous.Flags = 1;
    set(ProcessExtensionPointDisablePolicy, &hooks);
    // NoRemoteImages, NoLowMandatoryLabelImages, PreferSystem32Images.
    let mut images = PROCESS_MITIGATION_IMAGE_LOAD_POLICY::default();
    images.Anonymous.Flags = 0b111;
    set(ProcessImageLoadPolicy, &images);
}

fn set<T>(policy: PROCESS_MITIGATION_POLICY, value: &T) {
    // SAFETY: the policy's own structure, of its own size, which is only read.
    unsafe {
        SetProcessMitigationPolicy(policy, (&raw const *value).cast(), size_of_val(value));
    }
}
