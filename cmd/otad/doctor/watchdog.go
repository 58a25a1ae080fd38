package doctor

func (e *examination) watchdog() {}
