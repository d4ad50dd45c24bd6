// Package slurm tests mlrun as the OCI runtime of Slurm: srun --container, job arrays and scancel, in a cluster of one node that
// scripts/slurm-up starts. What users have to do for it is in docs/slurm.md.
package slurm
