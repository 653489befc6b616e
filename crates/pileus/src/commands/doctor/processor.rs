//! The processor's flags, `/dev/kvm`, and what runs the guests' instructions.

use super::{Finding, good, missing, weak};
use model::machine::Accelerator;
use node::hypervisor::qemu::{AcceleratorChoice, AcceleratorReport};
use std::collections::BTreeMap;

/// Intel's flags that make hardware virtualization fast: nested page tables, tagged TLB entries, interrupts without exits.
const FAST: [&str; 5] = ["ept", "vpid", "tpr_shadow", "flexpriority", "vnmi"];

fn has(flags: &BTreeMap<&'static str, bool>, flag: &str) -> bool {
    flags.get(flag).copied().unwrap_or(false)
}

/// The first finding decides what is possible, the second tells how well it goes.
pub(super) fn flags(flags: &BTreeMap<&'static str, bool>) -> [Finding; 2] {
    let (vmx, svm) = (has(flags, "vmx"), has(flags, "svm"));
    let main = if vmx {
        good("vmx or svm", "vmx (Intel VT-x)")
    } else if svm {
        good("vmx or svm", "svm (AMD-V)")
    } else {
        weak(
            "vmx or svm",
            "neither: guests are translated (TCG), and many times slower",
            "turn on VT-x or AMD-V in the firmware; in a virtual machine, turn on nested virtualization in the hypervisor below",
        )
    };
    let without: Vec<&str> = FAST.into_iter().filter(|flag| !has(flags, flag)).collect();
    let fast = if without.is_empty() {
        good("processor flags", FAST.join(" "))
    } else if vmx {
        let advice = "guests run, but slower; in a virtual machine, let the hypervisor below pass them on (QEMU: -cpu host)";
        weak("processor flags", format!("no {}", without.join(" ")), advice)
    } else if svm {
        good("processor flags", "Intel's are none of AMD's, which has counterparts of its own")
    } else {
        weak("processor flags", format!("no {}", without.join(" ")), "they come with vmx")
    };
    [main, fast]
}

/// `/dev/kvm` and the accelerator that the server would take. `found` is what was found without insisting on what is configured.
pub(super) fn accelerator(found: &AcceleratorReport, configured: AcceleratorChoice, kvm_exists: bool) -> [Finding; 2] {
    let flags: BTreeMap<_, _> = found.cpu_flags.iter().copied().collect();
    let kvm = if found.accelerator == Accelerator::Kvm {
        good("/dev/kvm", "a guest ran on it")
    } else if configured == AcceleratorChoice::Tcg {
        good("/dev/kvm", "not tried, since the configuration wants TCG")
    } else if has(&flags, "vmx") || has(&flags, "svm") {
        let module = if has(&flags, "vmx") { "kvm_intel" } else { "kvm_amd" };
        if kvm_exists {
            weak("/dev/kvm", "there, but no guest ran on it", format!("dmesg | grep -i kvm; modprobe -r {module} && modprobe {module}"))
        } else {
            weak("/dev/kvm", "absent", format!("modprobe {module}; a container must be given the device"))
        }
    } else {
        let text = if kvm_exists { "there, but of no use: a stock guest hangs on it" } else { "absent" };
        weak("/dev/kvm", text, "it takes vmx or svm, see above")
    };
    let used = if configured == AcceleratorChoice::Kvm && found.accelerator != Accelerator::Kvm {
        let advice = "get /dev/kvm to work, or set hypervisor.accelerator to \"auto\" in the configuration";
        missing("accelerator", format!("KVM is configured. Without that: {}", found.reason), advice)
    } else if configured == AcceleratorChoice::Auto && found.accelerator == Accelerator::Tcg {
        weak("accelerator", found.reason.clone(), "nothing, if slow will do; else see above")
    } else {
        good("accelerator", found.reason.clone())
    };
    [kvm, used]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::Verdict::{Good, Missing, Weak};
    use super::*;

    fn set(there: &[&'static str]) -> BTreeMap<&'static str, bool> {
        there.iter().map(|flag| (*flag, true)).collect()
    }

    #[test]
    fn flags_are_judged_by_who_made_the_processor() {
        let verdicts = |there: &[&'static str]| flags(&set(there)).map(|f| f.verdict);
        assert_eq!(verdicts(&["vmx", "ept", "vpid", "tpr_shadow", "flexpriority", "vnmi"]), [Good, Good]);
        assert_eq!(verdicts(&["vmx", "ept"]), [Good, Weak]);
        assert_eq!(verdicts(&["svm", "vnmi"]), [Good, Good]);
        assert_eq!(verdicts(&[]), [Weak, Weak]);
        assert_eq!(flags(&set(&["vmx", "ept", "vnmi"]))[1].found, "no vpid tpr_shadow flexpriority");
    }

    #[tokio::test]
    async fn a_device_is_believed_when_a_guest_ran() {
        let config = node::hypervisor::qemu::QemuConfig::new(std::path::Path::new("/nonexistent"));
        let mut report = node::hypervisor::qemu::accelerator_probe(&config).await.unwrap();
        let mut verdicts = |used, there: &[&'static str], configured, exists| {
            report.accelerator = used;
            report.cpu_flags = there.iter().map(|flag| (*flag, true)).collect();
            accelerator(&report, configured, exists).map(|f| (f.verdict, f.advice))
        };
        let none = String::new;
        assert_eq!(verdicts(Accelerator::Kvm, &["vmx"], AcceleratorChoice::Kvm, true), [(Good, none()), (Good, none())]);
        assert_eq!(verdicts(Accelerator::Tcg, &[], AcceleratorChoice::Tcg, true), [(Good, none()), (Good, none())]);
        let [kvm, used] = verdicts(Accelerator::Tcg, &["svm"], AcceleratorChoice::Auto, false);
        assert!(kvm.0 == Weak && kvm.1.starts_with("modprobe kvm_amd"), "{kvm:?}");
        assert_eq!(used.0, Weak);
        let [kvm, used] = verdicts(Accelerator::Tcg, &[], AcceleratorChoice::Kvm, true);
        assert!(kvm.0 == Weak && kvm.1.contains("vmx or svm"), "{kvm:?}");
        assert!(used.0 == Missing && used.1.contains("hypervisor.accelerator"), "{used:?}");
    }
}
