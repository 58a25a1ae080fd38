package main

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"otad/cmd/internal/cli"
	"otad/ota"
)

// serialPort is a serial port of this machine.
type serialPort struct {
	Name    string `json:"name"`
	USB     string `json:"usb,omitempty"` // "0403:6001": vendor and product
	Product string `json:"product,omitempty"`
	Serial  string `json:"serial,omitempty"`
}

// listPorts lists the serial ports, those on USB first.
func listPorts(env cli.Env, asJSON bool) error {
	ports, err := serialPorts()
	if err != nil {
		return fmt.Errorf("cannot list ports: %w", err)
	}
	slices.SortStableFunc(ports, func(a, b serialPort) int {
		switch {
		case a.USB != "" && b.USB == "":
			return -1
		case a.USB == "" && b.USB != "":
			return 1
		}
		return 0
	})
	if asJSON {
		return writeJSON(env.Stdout, ports)
	}
	if len(ports) == 0 {
		return ota.NewRefused(ota.CodeNothing, fmt.Errorf("cannot find a serial port")).WithHint("is the adapter plugged in?")
	}
	tw := tabwriter.NewWriter(env.Stdout, 0, 4, 2, ' ', 0)
	for _, p := range ports {
		fmt.Fprintln(tw, strings.TrimRight(strings.Join([]string{p.Name, p.USB, cli.Printable(p.Product), cli.Printable(p.Serial)}, "\t"), "\t"))
	}
	return tw.Flush()
}
