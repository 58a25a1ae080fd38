SUMMARY = "Over-the-air update agent for set-top boxes"
DESCRIPTION = "Keeps a box's firmware up to date from an UpgradeLink server: \
signed SWUpdate artifacts into A/B slots, a trial of each new system, and the \
way back to the old one."
SECTION = "admin"
LICENSE = "Apache-2.0"
LIC_FILES_CHKSUM = "file://LICENSE;md5=3b83ef96387f14655fc854ddc3c6bd57"

# The static binary that `make cross` made: the layer needs no Go of its own,
# and no network while it builds.
OTAD_TARGET:aarch64 = "arm64"
OTAD_TARGET:armv7a = "arm7"
OTAD_TARGET:armv7ve = "arm7"
OTAD_TARGET:armv6 = "arm6"
OTAD_TARGET:armv5 = "arm5"
OTAD_TARGET:mipsel = "mipslesoftfloat"
OTAD_TARGET:riscv64 = "riscv64"
OTAD_TARGET:x86-64 = "amd64"

FILESEXTRAPATHS:prepend := "${OTAD_TREE}:"
SRC_URI = " \
    file://bin/otad-linux-${OTAD_TARGET};subdir=${BP} \
    file://build/systemd/otad.service;subdir=${BP} \
    file://build/init/S80otad;subdir=${BP} \
    file://LICENSE;subdir=${BP} \
"

S = "${WORKDIR}/${BP}"

inherit systemd update-rc.d

SYSTEMD_SERVICE:${PN} = "otad.service"
INITSCRIPT_NAME = "otad"
INITSCRIPT_PARAMS = "defaults 80 20"

do_configure[noexec] = "1"
do_compile[noexec] = "1"

do_install() {
    install -D -m 0755 ${S}/bin/otad-linux-${OTAD_TARGET} ${D}${bindir}/otad
    install -d ${D}${sysconfdir}/otad/trust ${D}${sysconfdir}/otad/health.d
    if ${@bb.utils.contains('DISTRO_FEATURES', 'systemd', 'true', 'false', d)}; then
        install -D -m 0644 ${S}/build/systemd/otad.service ${D}${systemd_system_unitdir}/otad.service
    else
        install -D -m 0755 ${S}/build/init/S80otad ${D}${sysconfdir}/init.d/otad
    fi
}

FILES:${PN} += "${systemd_system_unitdir}"

# Go's linker has stripped it.
INSANE_SKIP:${PN} += "already-stripped"
