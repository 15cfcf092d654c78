from spack_repo.builtin.build_systems.cmake import CMakePackage, generator
from spack_repo.builtin.build_systems.cuda import CudaPackage

from spack.package import *


class Rluf(CMakePackage, CudaPackage):
    """Reinforcement learning from user feedback: one MPI program from a log of reactions to an aligned chat model."""

    license("Apache-2.0")

    # Built from a checkout (`develop:` in spack.yaml) until there is a release.
    has_code = False
    version("main")

    generator("ninja")

    depends_on("c", type="build")
    depends_on("cxx", type="build")
    depends_on("cmake@3.27:", type="build")
    depends_on("pkgconfig", type="build")
    depends_on("mpi")
    depends_on("hdf5@1.10.8:1.14 +mpi")
    depends_on("boost@1.74: +program_options +iostreams +math")
    depends_on("zlib-api")
    depends_on("nlohmann-json@3.11:3")
    depends_on("pcre2@10.40:10")
    depends_on("kokkos@3.4:5 +openmp")
    depends_on("py-torch@2.6:2")
    depends_on("googletest@1.12:1", type="test")

    with when("+cuda"):
        depends_on("cuda@12.6:13")
        depends_on("nccl@2.20:2")
        for arch in CudaPackage.cuda_arch_values:
            depends_on(f"nccl +cuda cuda_arch={arch}", when=f"cuda_arch={arch}")
            depends_on(f"py-torch +cuda cuda_arch={arch}", when=f"cuda_arch={arch}")
    depends_on("py-torch ~cuda", when="~cuda")
    conflicts("cuda_arch=none", when="+cuda", msg="name the GPUs: cuda_arch=90 for H100, 80 for A100")

    def cmake_args(self):
        # .../torch/share/cmake -> .../torch
        torch = join_path(self.spec["py-torch"].package.cmake_prefix_paths[0], "..", "..")
        args = [
            self.define_from_variant("RLUF_CUDA", "cuda"),
            self.define("RLUF_TESTS", self.run_tests),
            self.define("LIBTORCH_DIR", torch),
        ]
        if self.spec.satisfies("+cuda"):
            args.append(self.define("CMAKE_CUDA_ARCHITECTURES", self.spec.variants["cuda_arch"].value))
            args.append(self.define("NCCL_ROOT", self.spec["nccl"].prefix))
        return args

    def setup_run_environment(self, env):
        env.set("RLUF_ROOT", self.prefix)
