"""How are 4-bit weights multiplied on a GPU? Five steps in Triton, from a naive kernel to a good one.

`packed` holds the weights and `reference` multiplies them in plain torch. The kernels are in `gemv` (steps 1 to 4) and
`gemm` (step 5). `linear` puts them into a model, and `compiled` reads what the compiler made of them. Triton is
optional. Only `unpack`, `gemv`, `gemm` and `linear` import it, and nothing imports these before they are needed.
"""
