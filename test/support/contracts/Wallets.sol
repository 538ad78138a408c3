// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

/// A wallet whose word is that of its owner (ERC-1271). Anybody may change the owner: it is for tests.
contract OwnedWallet {
    address public owner;

    constructor(address first) {
        owner = first;
    }

    function setOwner(address next) external {
        owner = next;
    }

    function isValidSignature(bytes32 digest, bytes calldata signature) external view returns (bytes4) {
        if (signature.length != 65) return 0xffffffff;
        (bytes32 r, bytes32 s) = (bytes32(signature[:32]), bytes32(signature[32:64]));
        address signer = ecrecover(digest, uint8(signature[64]), r, s);
        return signer != address(0) && signer == owner ? bytes4(0x1626ba7e) : bytes4(0xffffffff);
    }
}

/// Makes wallets at addresses that are known before (ERC-6492).
contract WalletFactory {
    function make(address owner, bytes32 salt) external returns (address) {
        return address(new OwnedWallet{salt: salt}(owner));
    }
}

/// Wallets that fail, each in its way.
contract RevertingWallet {
    function isValidSignature(bytes32, bytes calldata) external pure returns (bytes4) {
        revert("no");
    }
}

contract LoopingWallet {
    function isValidSignature(bytes32, bytes calldata) external pure returns (bytes4) {
        while (true) {}
        return 0x1626ba7e;
    }
}

/// Its answer begins with the word for yes, and goes on for 2 MB.
contract LongWordedWallet {
    function isValidSignature(bytes32, bytes calldata) external pure returns (bytes4) {
        assembly {
            mstore(0, shl(224, 0x1626ba7f))
            return(0, 2000000)
        }
    }
}

contract LongRevertingWallet {
    uint256 immutable length;

    constructor(uint256 bytes_) {
        length = bytes_;
    }

    function isValidSignature(bytes32, bytes calldata) external view returns (bytes4) {
        uint256 bytes_ = length;
        assembly {
            revert(0, bytes_)
        }
    }
}

/// Says yes with a word of four bytes and nothing behind it, where thirty-two are due.
contract ShortWordedWallet {
    function isValidSignature(bytes32, bytes calldata) external pure returns (bytes4) {
        assembly {
            mstore(0, shl(224, 0x1626ba7e))
            return(0, 4)
        }
    }
}
