package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// planFD is the first of the additional file descriptors that a child inherits.
const planFD = 3

// becomeContainer runs in the namespaces of a container. It creates the container's files, changes
// its root to them, drops its rights, and executes the program. It returns only if one of these
// steps fails.
func becomeContainer() error {
	// Some settings below apply to a thread. They must be set on the thread that executes the program.
	runtime.LockOSThread()
	file := os.NewFile(planFD, "plan")
	var plan containerPlan
	if err := json.NewDecoder(file).Decode(&plan); err != nil {
		return fmt.Errorf("the plan: %w", err)
	}
	file.Close()
	if err := buildRoot(plan); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(plan.Hostname)); err != nil {
		return fmt.Errorf("the host name: %w", err)
	}
	dir := plan.Dir
	if dir == "" {
		dir = "/"
	}
	if err := os.Chdir(dir); err != nil {
		return err
	}
	if err := dropRights(plan); err != nil {
		return err
	}
	os.Clearenv()
	for _, pair := range plan.Env {
		name, value, _ := strings.Cut(pair, "=")
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	program, err := exec.LookPath(plan.Command[0])
	if err != nil {
		return err
	}
	return fmt.Errorf("%s: %w", program, syscall.Exec(program, plan.Command, os.Environ()))
}

// dropRights changes the user, and prevents the process from regaining rights.
func dropRights(plan containerPlan) error {
	if plan.UID != 0 || plan.GID != 0 {
		if err := syscall.Setgroups(nil); err != nil {
			return fmt.Errorf("groups: %w", err)
		}
		if err := syscall.Setgid(plan.GID); err != nil {
			return fmt.Errorf("group %d: %w", plan.GID, err)
		}
		if err := syscall.Setuid(plan.UID); err != nil {
			return fmt.Errorf("user %d: %w", plan.UID, err)
		}
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	// A change of the user clears the signal on the parent's death, and this is another thread, so the
	// signal is set again.
	return unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0)
}

// libraries are the machine's folders that dynamically linked programs need.
var libraries = []string{"/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin"}

// devices are the devices that programs may expect.
var devices = []string{"null", "zero", "full", "random", "urandom"}

// buildRoot makes plan.Root the root folder of this mount namespace.
func buildRoot(plan containerPlan) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("private mounts: %w", err)
	}
	root := plan.Root
	flags := uintptr(unix.MS_NOSUID | unix.MS_NODEV)
	if err := unix.Mount("tmpfs", root, "tmpfs", flags, "mode=0755"); err != nil {
		return fmt.Errorf("the root folder: %w", err)
	}
	if err := addSystem(root); err != nil {
		return err
	}
	program := mount{Source: plan.Program, Target: "/" + plan.Name, ReadOnly: true}
	for _, m := range append([]mount{program}, plan.Mounts...) {
		if err := bind(root, m); err != nil {
			return err
		}
	}
	if plan.ReadOnly {
		if err := unix.Mount("", root, "", flags|unix.MS_REMOUNT|unix.MS_RDONLY, "mode=0755"); err != nil {
			return fmt.Errorf("making the root folder read-only: %w", err)
		}
	}
	return enterRoot(root)
}

// addSystem adds libraries, devices, /proc, /tmp and a user list.
func addSystem(root string) error {
	for _, dir := range libraries {
		info, err := os.Lstat(dir)
		if err != nil {
			continue
		}
		if info.Mode()&os.ModeSymlink != 0 {
			target, err := os.Readlink(dir)
			if err != nil {
				return err
			}
			if err := os.Symlink(target, root+dir); err != nil {
				return err
			}
			continue
		}
		if err := bind(root, mount{Source: dir, Target: dir, ReadOnly: true}); err != nil {
			return err
		}
	}
	for _, device := range devices {
		path := "/dev/" + device
		if err := bind(root, mount{Source: path, Target: path}); err != nil {
			return err
		}
	}
	for dir, mode := range map[string]os.FileMode{
		"/tmp": 0o1777, "/proc": 0o555, "/etc": 0o755, "/root": 0o700, "/run": 0o755,
	} {
		if err := os.Mkdir(root+dir, 0o755); err != nil {
			return err
		}
		if err := os.Chmod(root+dir, mode&0o777|stickyBit(mode)); err != nil {
			return err
		}
	}
	users := "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"
	if err := os.WriteFile(root+"/etc/passwd", []byte(users), 0o644); err != nil {
		return err
	}
	hosts := "127.0.0.1 localhost\n"
	if err := os.WriteFile(root+"/etc/hosts", []byte(hosts), 0o644); err != nil {
		return err
	}
	flags := uintptr(unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC)
	if err := unix.Mount("proc", root+"/proc", "proc", flags, ""); err != nil {
		return fmt.Errorf("/proc: %w", err)
	}
	return nil
}

func stickyBit(mode os.FileMode) os.FileMode {
	if mode&0o1000 != 0 {
		return os.ModeSticky
	}
	return 0
}

// bind mounts m.Source at m.Target below root.
func bind(root string, m mount) error {
	target := filepath.Join(root, m.Target)
	info, err := os.Stat(m.Source)
	if err != nil {
		return err
	}
	if err := makeTarget(target, info.IsDir()); err != nil {
		return err
	}
	if err := unix.Mount(m.Source, target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("%s at %s: %w", m.Source, m.Target, err)
	}
	if !m.ReadOnly {
		return nil
	}
	// In a user namespace, the restrictions of the source's mount cannot be removed.
	kept, err := restrictions(target)
	if err != nil {
		return err
	}
	flags := uintptr(unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY) | kept
	if err := unix.Mount("", target, "", flags, ""); err != nil {
		return fmt.Errorf("making %s read-only: %w", m.Target, err)
	}
	return nil
}

func restrictions(path string) (uintptr, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		return 0, err
	}
	var flags uintptr
	for status, flag := range map[int64]uintptr{
		unix.ST_NOSUID: unix.MS_NOSUID, unix.ST_NODEV: unix.MS_NODEV,
		unix.ST_NOEXEC: unix.MS_NOEXEC, unix.ST_NOATIME: unix.MS_NOATIME,
		unix.ST_NODIRATIME: unix.MS_NODIRATIME, unix.ST_RELATIME: unix.MS_RELATIME,
	} {
		if s.Flags&status != 0 {
			flags |= flag
		}
	}
	return flags, nil
}

// makeTarget creates an empty folder or file as a mount point.
func makeTarget(target string, folder bool) error {
	if folder {
		return os.MkdirAll(target, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	file, err := os.OpenFile(target, os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	return file.Close()
}

// enterRoot makes root the root folder and unmounts the previous one.
func enterRoot(root string) error {
	if err := os.Chdir(root); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("changing the root folder: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leaving the former root folder: %w", err)
	}
	return os.Chdir("/")
}
