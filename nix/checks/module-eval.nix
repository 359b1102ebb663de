{ self, writeText }: writeText "module-eval" ""
