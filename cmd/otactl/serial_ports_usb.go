//go:build !darwin || cgo

package main

import "go.bug.st/serial/enumerator"

func serialPorts() ([]serialPort, error) {
	details, err := enumerator.GetDetailedPortsList()
	list := []serialPort{}
	for _, d := range details {
		p := serialPort{Name: d.Name, Product: d.Product, Serial: d.SerialNumber}
		if d.IsUSB {
			p.USB = d.VID + ":" + d.PID
		}
		if p.Name != "" { // one that vanished meanwhile
			list = append(list, p)
		}
	}
	return list, err
}
