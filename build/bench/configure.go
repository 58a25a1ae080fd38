package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// configure writes the settings of every server and installer. They share a boot
// environment in two copies, in the form of U-Boot.
func (p *place) configure() error {
	files := map[string]string{
		p.run + "/nginx.conf":              nginxConf,
		p.run + "/mosquitto.conf":          "listener " + mqtPort + " 127.0.0.1\nallow_anonymous true\n",
		p.run + "/dbus.conf":               dbusConf,
		p.run + "/rauc.conf":               raucConf,
		p.run + "/rauc-boot.sh":            raucBoot,
		p.run + "/mender.conf":             menderConf,
		p.run + "/env.txt":                 "rootpart=A\nmender_boot_part={rootpart}\nmender_boot_part_hex={rootpart}\nupgrade_available=0\nbootcount=0\nBOOT_ORDER=A B\nBOOT_A_LEFT=3\nBOOT_B_LEFT=3\n",
		p.run + "/cmdline":                 "root={slota} rauc.slot=A\n",
		p.run + "/version":                 "1 1.0.0\n",
		p.run + "/secret":                  "not asked for\n",
		"/etc/fw_env.config":               "{run}/env.1 0x0 0x4000\n{run}/env.2 0x0 0x4000\n",
		"/etc/mender/artifact_info":        "artifact_name=rel-1\n",
		p.run + "/mender-data/device_type": "device_type=" + model + "\n",
		p.run + "/once.toml":               otadConf + "[download]\nmode = \"streamed\"\n[log]\nlevel = \"debug\"\n", // or it logs no stages
		p.run + "/streamed.toml":           otadConf + "[download]\nmode = \"streamed\"\n" + otadBroker,
		p.run + "/staged.toml":             otadConf + "[download]\nmode = \"staged\"\ndir = \"{temp}/otad\"\n" + otadBroker,
	}
	words := strings.NewReplacer("{run}", p.run, "{art}", p.art, "{keys}", p.keys, "{temp}", p.temp, "{slota}", p.slotA, "{slotb}", p.slotB,
		"{root}", p.root, "{rootpart}", strings.TrimPrefix(p.root, "/dev/loop"))
	for path, text := range files {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(words.Replace(text)), 0o755); err != nil {
			return fmt.Errorf("cannot configure: %w", err)
		}
	}
	for name, value := range map[string]string{
		"DBUS_SYSTEM_BUS_ADDRESS": "unix:path=" + p.run + "/dbus.sock",
		"TMPDIR":                  p.temp,
		"LC_ALL":                  "C",
		"PATH":                    p.run + "/bin:" + os.Getenv("PATH") + ":/usr/sbin:/sbin",
	} {
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	if err := os.Symlink(p.otad, p.run+"/bin/otad"); err != nil {
		return err
	}
	return sh("%s", words.Replace(`set -e; cd {run}; mkdir -p rauc-mnt mender-root
		mkenvimage -r -s 0x4000 -o env.0 env.txt; cp env.0 env.1; cp env.0 env.2
		mount --bind {run}/cmdline /proc/cmdline
		mkfs.ext4 -q -F {root}; mount {root} mender-root; cd mender-root
		mkdir usr etc proc dev tmp var sys run work; for l in bin sbin lib lib64; do ln -s usr/$l $l; done
		for d in usr etc proc dev tmp var sys run; do mount --rbind /$d $d; done
		mkdir -p .{run}; mount --rbind {run} .{run} 2>/dev/null || true`))
}

const nginxConf = `
worker_processes 1; daemon off; pid {run}/nginx.pid; error_log {run}/nginx.err warn;
events { worker_connections 256; }
http {
  sendfile on; tcp_nopush on; keepalive_timeout 65; default_type application/octet-stream;
  log_format bytes '$bytes_sent';
  access_log {run}/access.log bytes;
  client_body_temp_path {run}/nginx-body; proxy_temp_path {run}/nginx-proxy; fastcgi_temp_path {run}/nginx-fastcgi;
  uwsgi_temp_path {run}/nginx-uwsgi; scgi_temp_path {run}/nginx-scgi;
  server { listen 127.0.0.1:` + webPort + `; root {art}; }
}
`

const dbusConf = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path={run}/dbus.sock</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>
`

const raucConf = `[system]
compatible=` + model + `
bootloader=custom
mountprefix={run}/rauc-mnt
max-bundle-download-size=1073741824
statusfile={run}/rauc.status
bundle-formats=plain verity
activate-installed=true
[keyring]
path={keys}/cms.crt
[handlers]
bootloader-custom-backend={run}/rauc-boot.sh
[slot.rootfs.0]
device={slota}
type=raw
bootname=A
[slot.rootfs.1]
device={slotb}
type=raw
bootname=B
`

// raucBoot keeps its state in one file, with a sync, as a tool for a boot
// environment would.
const raucBoot = `#!/bin/sh
state={run}/rauc-boot
mkdir -p $state
case "$1" in
get-primary) cat $state/primary 2>/dev/null || echo A ;;
set-primary) echo "$2" >$state/new && sync $state/new && mv $state/new $state/primary ;;
get-state) cat $state/state.$2 2>/dev/null || echo good ;;
set-state) echo "$3" >$state/state.$2 ;;
get-current) echo A ;;
esac
`

const menderConf = `{ "RootfsPartA": "{root}", "RootfsPartB": "{slotb}", "ArtifactVerifyKey": "{keys}/mender.pub",
  "DeviceTypeFile": "{run}/mender-data/device_type", "ServerURL": "http://127.0.0.1:1",
  "UpdatePollIntervalSeconds": 1800, "InventoryPollIntervalSeconds": 1800, "RetryPollIntervalSeconds": 30 }
`

// otadConf is a box that U-Boot starts. The server is not there: what is installed
// is named by hand.
const otadConf = `
[device]
model = "` + model + `"
key = "bench"
revision = "1.0"
[server]
url = "http://127.0.0.1:1"
access_key = "none"
secret_key_file = "{run}/secret"
report = false
[firmware]
url_key = "none"
version_file = "{run}/version"
[trust]
ca = ["{keys}/cms.crt"]
[state]
dir = "{run}/otad-state"
[control]
socket = "{run}/otad.sock"
[policy]
check_every = "1000h"
[board]
driver = "uboot"
env_config = "/etc/fw_env.config"
reboot = ["/bin/true"]
[[board.slot]]
name = "a"
device = "/dev/otad-bench-a"
boot_name = "A"
[[board.slot]]
name = "b"
device = "/dev/otad-bench-b"
boot_name = "B"
`

const otadBroker = `[mqtt]
brokers = ["tcp://127.0.0.1:` + mqtPort + `"]
`
