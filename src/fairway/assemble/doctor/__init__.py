"""What is wrong with a cluster's Services: objects against each other, and against what kernels hold. All pure; the
gathering is done by `fairway.assemble.doctoring`."""
