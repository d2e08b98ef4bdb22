"""What a recording measures beside the calls, if asked: ops, numbers, costs, gradients. A file each."""
