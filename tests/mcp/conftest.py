from mcp_bench import bench, person, remote

__all__ = ["bench", "person", "remote"]
