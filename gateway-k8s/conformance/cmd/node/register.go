package main

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

// nodeName is the name of the only Node.
const nodeName = "node"

// register creates the Node, which the endpoint slice controller and the log requests of the API
// server need. There is no heartbeat, because no controller watches it.
func register(ctx context.Context, client kubernetes.Interface, address string, port int) error {
	labels := map[string]string{
		v1.LabelHostname: nodeName, v1.LabelOSStable: "linux", v1.LabelArchStable: runtime.GOARCH,
	}
	node := &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: nodeName, Labels: labels}}
	_, err := client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("registering the node: %w", err)
	}
	patch, err := json.Marshal(map[string]any{"status": nodeStatus(address, port)})
	if err != nil {
		return err
	}
	_, err = client.CoreV1().Nodes().Patch(
		ctx, nodeName, types.MergePatchType, patch, metav1.PatchOptions{}, "status")
	if err != nil {
		return fmt.Errorf("the node's status: %w", err)
	}
	return nil
}

func nodeStatus(address string, port int) v1.NodeStatus {
	now := metav1.NewTime(time.Now())
	capacity := v1.ResourceList{
		v1.ResourceCPU:    *resource.NewQuantity(int64(runtime.NumCPU()), resource.DecimalSI),
		v1.ResourceMemory: resource.MustParse("8Gi"),
		v1.ResourcePods:   resource.MustParse("1000"),
	}
	return v1.NodeStatus{
		Capacity:    capacity,
		Allocatable: capacity,
		Conditions: []v1.NodeCondition{{
			Type: v1.NodeReady, Status: v1.ConditionTrue, Reason: "AgentRuns",
			Message: "the node agent runs", LastHeartbeatTime: now, LastTransitionTime: now,
		}},
		Addresses: []v1.NodeAddress{
			{Type: v1.NodeInternalIP, Address: address},
			{Type: v1.NodeHostName, Address: nodeName},
		},
		DaemonEndpoints: v1.NodeDaemonEndpoints{
			KubeletEndpoint: v1.DaemonEndpoint{Port: int32(port)}},
		NodeInfo: v1.NodeSystemInfo{
			OperatingSystem: "linux", Architecture: runtime.GOARCH,
			ContainerRuntimeVersion: "processes://1", KubeletVersion: "v1.36.0",
		},
	}
}
